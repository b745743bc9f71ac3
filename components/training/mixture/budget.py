"""How many tokens a training takes, and where its phases end when they are given as shares of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

TOKENS_PER_PARAMETER = 20


def compute_optimal_tokens(parameters: int, over_train: float = 1.0) -> int:
    """Tokens at which a model of this size is the best that its compute could have trained.

    Args:
        parameters: All of the model's, embeddings too, a tied one once: as Hoffmann et al. count (appendix F). A small
            model with a large vocabulary is mostly embedding, and a count without it gives far fewer tokens. Of a sparse
            model those that a token meets, which its compute is made of; its optimum lies above, the more experts the
            further, so that the result is the least of its tokens.
        over_train: Factor on the optimum. A model that is used much pays back more than one: it is smaller at the
            same quality.

    References:
        Hoffmann et al. 2022, Training Compute-Optimal Large Language Models, arXiv 2203.15556, table 3 (approach 1:
        20.0 tokens per parameter at 400 million, 20.2 at 1 billion, 20.5 at 10 billion); Sardana et al. 2024,
        arXiv 2401.00448 (training longer for inference); Ludziejewski et al. 2025, arXiv 2502.05172 (more tokens for each
        active parameter with more experts).
    """
    return round(TOKENS_PER_PARAMETER * over_train * parameters)


def phase_ends(shares: Sequence[float], total_tokens: int) -> list[int]:
    """Tokens from the start of the run at which each phase ends; the last one ends at the total exactly."""
    ends = [round(total_tokens * done) for done in accumulate(shares)]
    return [*ends[:-1], total_tokens]
