"""``sole check``: measures what the training data rest on; nothing imports this but the CLI."""
