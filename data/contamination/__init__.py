"""Finds the benchmark examples that a document repeats: shared triples of words, weighed by rarity, chained along the
text.
"""
