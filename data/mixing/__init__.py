"""Choosing a mixture by experiment: what may be tried (`bounds`), fits (`laws`), what to try next (`proposal`), the whole (`search`)."""
