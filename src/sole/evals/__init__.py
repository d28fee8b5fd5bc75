"""Measuring a reward model against the truth, beside rows that must not win."""
