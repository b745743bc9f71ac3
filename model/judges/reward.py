"""The reward model: a decoder's trunk and several scalar heads, learnt from pairs (Bradley-Terry).

Each head judges one objective and learns only from the pairs labelled with it; they share the trunk, because pairs are
few and the features of a complete answer also help to judge whether it is true. A head is a linear map of the state at
the last token of the exchange, the only one that has seen all of the answer. It has no bias: Bradley-Terry sees
differences alone, so a bias would never get a gradient.

The scale of a head is as arbitrary as its zero point, so a weighted sum of raw scores would follow whichever head
happened to grow largest. After training, each head is therefore standardised on the exchanges it was trained on (mean
0, deviation 1), and the reward is the sum of weight * standardised score: a weight of 2 counts twice.

References:
    Bradley & Terry 1952, "Rank analysis of incomplete block designs: the method of paired comparisons".
    Ouyang et al. 2022, "Training language models to follow instructions with human feedback", section 3.5 (the loss).
    Gemini Team 2023, arXiv 2312.11805, section 6.4.2 (several heads, weighted sum).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import load_file, save_file

from millrace.model.answers.padding import SMALLEST_TOKENS, batches_by_length, pad_rows
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder
from millrace.model.package import weights

HEADS_FILE = "heads.safetensors"
FACTS_FILE = "reward.json"
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Head:
    """The scale that turns a head's raw score into its part of the reward.

    Attributes:
        name: The objective it judges.
        weight: Its say in the weighted sum.
        mean: Mean raw score on its training exchanges.
        deviation: Standard deviation of the raw score there; positive.
    """

    name: str
    weight: float = 1.0
    mean: float = 0.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise ValueError(f"head {self.name!r} has deviation {self.deviation}, expected a positive number")


class RewardModel(nnx.Module):
    """A decoder's trunk with one linear head per objective.

    Args:
        decoder: The trunk; it is trained on, not copied.
        heads: Number R of heads.
    """

    def __init__(self, decoder: Decoder, heads: int) -> None:
        self.decoder = decoder
        # Zero, so that before training every pair is a fair coin and the loss is ln 2.
        self.kernel = nnx.Param(jnp.zeros((decoder.config.model_size, heads), jnp.float32))

    def __call__(self, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
        """Raw scores of exchanges.

        Args:
            tokens: int32 [B, T], padded on the right with anything.
            lengths: int32 [B], tokens of each exchange, at least 1.

        Returns:
            float32 [B, R].
        """
        states = self.decoder.hidden(tokens)
        last = jnp.take_along_axis(states, (lengths - 1)[:, None, None], axis=1)[:, 0]
        return jnp.einsum("BD,DR->BR", last.astype(jnp.float32), self.kernel[...])


def bradley_terry_loss(chosen: jax.Array, rejected: jax.Array) -> jax.Array:
    """Mean of -log sigmoid(chosen - rejected), the negative log likelihood of the preferences.

    Args:
        chosen: float32 [B], scores of the preferred answers.
        rejected: float32 [B], scores of the others.

    Returns:
        float32 scalar, nats a pair.
    """
    return -jnp.mean(jax.nn.log_sigmoid(chosen - rejected))


def pair_scores(model: RewardModel, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The scores of both sides of each pair by the head that the pair is labelled with.

    Args:
        model: The reward model.
        batch: ``tokens`` int32 [2B, T] and ``lengths`` int32 [2B] with the preferred exchanges first and the others
            after them in the same order, ``head`` int32 [B].

    Returns:
        float32 [B] of the preferred, float32 [B] of the others.
    """
    pairs = batch["head"].shape[0]
    scores = model(batch["tokens"], batch["lengths"])
    rows = jnp.arange(pairs)
    return scores[rows, batch["head"]], scores[rows + pairs, batch["head"]]


def pair_loss(model: RewardModel, batch: Mapping[str, jax.Array]) -> jax.Array:
    """The Bradley-Terry loss of a batch as ``pair_scores`` takes it: float32 scalar, nats a pair."""
    return bradley_terry_loss(*pair_scores(model, batch))


@nnx.jit
def _scores(model: RewardModel, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    return model(tokens, lengths)


def raw_scores(
    model: RewardModel,
    sequences: Sequence[Sequence[int]],
    *,
    batch_tokens: int = BATCH_TOKENS,
    width_tokens: int = SMALLEST_TOKENS,
) -> np.ndarray:
    """Every head's raw score of every exchange.

    Args:
        model: The reward model.
        sequences: N exchanges as token ids, at least one each, the answer's last token last. Longer ones than
            ``max_sequence_tokens`` lose their beginning.
        batch_tokens: Most tokens (rows times width) of one batch.
        width_tokens: Exchanges are padded to at least this many tokens, see ``generate``.

    Returns:
        float32 [N, R].
    """
    limit = model.decoder.config.max_sequence_tokens
    cut = [sequence[-limit:] for sequence in sequences]
    lengths = [len(sequence) for sequence in cut]
    result = np.empty((len(cut), model.kernel.shape[1]), dtype=np.float32)
    for count, width, members in batches_by_length(lengths, limit, batch_tokens, smallest=width_tokens):
        tokens = pad_rows([cut[row] for row in members], count, width)
        sizes = np.ones(count, dtype=np.int32)
        sizes[: len(members)] = [lengths[row] for row in members]
        result[members] = np.asarray(_scores(model, jnp.asarray(tokens), jnp.asarray(sizes)))[: len(members)]
    return result


def combine(heads: Sequence[Head], scores: np.ndarray) -> np.ndarray:
    """The weighted sum of standardised scores.

    Args:
        heads: The R heads.
        scores: float32 [N, R], raw.

    Returns:
        float64 [N].
    """
    parts = [
        head.weight * (scores[:, r].astype(np.float64) - head.mean) / head.deviation
        for r, head in enumerate(heads)
    ]
    return np.sum(parts, axis=0)


def save(folder: Path, config: ModelConfig, model: RewardModel, heads: Sequence[Head]) -> None:
    """Writes a ``reward_model`` artifact: the trunk as a model, the heads and how to combine them."""
    weights.save(folder, config, model.decoder)
    save_file({"kernel": np.asarray(model.kernel[...])}, folder / HEADS_FILE)
    facts = {
        "heads": [head.name for head in heads],
        "weights": {head.name: head.weight for head in heads},
        "standardise": {head.name: {"mean": head.mean, "deviation": head.deviation} for head in heads},
    }
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load(folder: Path) -> tuple[ModelConfig, RewardModel, tuple[Head, ...]]:
    """Reads a ``reward_model`` artifact.

    Raises:
        ValueError: The heads' weights do not fit the trunk or the list of heads.
    """
    config, decoder = weights.load(folder)
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    heads = tuple(
        Head(name, facts["weights"][name], **facts["standardise"][name])  # JSON of our own making
        for name in facts["heads"]
    )
    kernel = load_file(folder / HEADS_FILE)["kernel"]
    if kernel.shape != (config.model_size, len(heads)):
        raise ValueError(
            f"got heads of shape {kernel.shape}, expected {(config.model_size, len(heads))}: "
            f"{HEADS_FILE} is not of this reward model"
        )
    model = RewardModel(decoder, len(heads))
    model.kernel[...] = jnp.asarray(kernel)
    return config, model, heads
