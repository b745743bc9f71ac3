"""Judges of text: reward models, text classifiers, and the intervals of their accuracy."""
