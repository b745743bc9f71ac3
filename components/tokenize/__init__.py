"""``tokenize``: documents become token streams, one for each source."""
