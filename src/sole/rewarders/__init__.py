"""Reward models behind one interface: they see pictures and a sentence, and say how far it is."""
