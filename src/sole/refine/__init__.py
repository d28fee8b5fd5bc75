"""From imitation to mastery: a cloned policy is improved online by judged rewards alone."""
