"""``distill``: pretraining with a teacher's distributions beside the tokens."""
