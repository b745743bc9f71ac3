"""``evaluate``: scores of models on benchmarks, with intervals and contamination."""
