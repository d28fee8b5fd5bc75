"""A reward model behind HTTP: episodes and running sessions of many robots, judged in batches."""
