"""From judged progress to the reward that an agent learns from. Pure numpy."""
