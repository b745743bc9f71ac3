"""Examples for evaluation and tuning, made from documents or read from a user's files."""
