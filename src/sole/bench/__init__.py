"""Benchmarks over many runs: plan them, run what is missing, and compare what came out."""
