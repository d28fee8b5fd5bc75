"""Records of what a robot did and what a model said about it, and how they lie on disk."""
