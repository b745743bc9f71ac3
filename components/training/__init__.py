"""Training on token streams, as ``pretrain``, ``distill`` and ``ablate_mixture`` share it."""
