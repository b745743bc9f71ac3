"""``benchmarks``: evaluation sets from held-out documents and a user's questions."""
