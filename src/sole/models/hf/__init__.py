"""Any image-text-to-text model of Hugging Face transformers as a reader of progress."""
