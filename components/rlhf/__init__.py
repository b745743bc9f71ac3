"""``rlhf``: a policy trained on rewards and held to its reference."""
