"""Answers to where something came from and what became of it, one file per question."""
