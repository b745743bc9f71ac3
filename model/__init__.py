"""The model: network, losses, training, inference and packages, in JAX."""
