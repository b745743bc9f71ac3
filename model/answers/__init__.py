"""Text out of a model: generation, continuous batches, scores of given text."""
