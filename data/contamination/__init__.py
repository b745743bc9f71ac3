"""Which benchmark examples a document repeats: shared triples of words, weighed by rarity and chained along the text."""
