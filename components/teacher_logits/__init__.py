"""``teacher_logits``: a teacher's likeliest tokens at each position, kept for ``distill``."""
