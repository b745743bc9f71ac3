"""``export``: one package to ship, with its model card."""
