"""Choosing a mixture by experiment: which weights to try (`bounds`), what they predict (`laws`), what to try next (`proposal`)."""
