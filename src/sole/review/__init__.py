"""`sole report`: pages of what `sole eval quality` measured, and of how two results differ."""
