"""Vision-language models behind an OpenAI-compatible address."""
