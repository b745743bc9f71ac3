"""The data side of training: token streams, the mixture's sampler, epochs, packing, stored logits."""
