"""From simulators to training examples: episodes by many policies, labels, and words for them."""
