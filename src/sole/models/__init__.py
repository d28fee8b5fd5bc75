"""Models that look at pictures and write: the embedded one, and (later) the big ones."""
