"""Online RL whose only reward is a reward model's judgement of finished episodes."""
