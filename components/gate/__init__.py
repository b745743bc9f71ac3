"""``gate``: the rules that a model must keep to before it is exported."""
