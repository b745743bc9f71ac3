"""``pretrain``: a decoder trained from scratch on staged mixtures of token streams."""
