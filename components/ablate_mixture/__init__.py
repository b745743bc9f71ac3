"""``ablate_mixture``: small proxies trained on mixtures, and the weights that they propose."""
