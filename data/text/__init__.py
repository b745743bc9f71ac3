"""Text as batches of bytes: kernels over words, lines and characters."""
