"""Training reward models: from examples, then from verifiable rewards."""
