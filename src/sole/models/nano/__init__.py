"""nano: the small video-language model that ships in this package, a real transformers model."""
