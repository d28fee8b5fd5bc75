"""Simulated tasks: pictures for the model, truth for the scientist, kept apart."""
