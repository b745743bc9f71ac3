"""``reward``: a reward model with several heads, learnt from preference pairs."""
