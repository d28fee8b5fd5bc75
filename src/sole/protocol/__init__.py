"""What is shown to a reward model, what it is asked, and how its reply is read. Pure numpy."""
