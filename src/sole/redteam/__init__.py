"""`sole redteam`: optimisers look for episodes that a reward model overrates."""
