"""Models run by a vLLM engine inside this process."""
