"""The shape of a decoder: one frozen record that names every size with the project's axis letters.

The same record is the ``config.json`` of a ``model`` artifact, so that a checkpoint explains itself without the spec
that trained it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

ACTIVATIONS = ("gelu", "silu")
COMPUTE_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants of one decoder.

    Attributes:
        vocab_size: V, number of token ids.
        layers: Number of decoder layers.
        model_size: D, width of the residual stream.
        heads: N, query heads.
        kv_heads: K, key-value heads; 1 is multi-query attention, N is multi-head attention.
        head_size: H, width of one head; even, because rotary embedding turns pairs.
        feed_forward_size: F, width of the gated feed-forward layer.
        max_sequence_tokens: Longest sequence that the model is trained and served with.
        rope_base: Base of the rotary frequencies; grow it with the context.
        norm_epsilon: Added to the mean square in RMSNorm.
        activation: Gate of the feed-forward layer: ``gelu`` (GeGLU) or ``silu`` (SwiGLU).
        compute_dtype: Type of matrix products; weights, norms, softmax and logits stay float32.

    Raises:
        ValueError: A size is not positive or does not divide as it must.

    References:
        Shazeer 2019, Fast Transformer Decoding (multi-query attention), arXiv 1911.02150.
        Ainslie et al. 2023, GQA, arXiv 2305.13245.
        Su et al. 2021, RoFormer, arXiv 2104.09864, section 3.2 (base 10,000).
        Shazeer 2020, GLU Variants Improve Transformer, arXiv 2002.05202.
    """

    vocab_size: int
    layers: int
    model_size: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward_size: int
    max_sequence_tokens: int
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-6
    activation: str = "gelu"
    compute_dtype: str = "float32"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in ("int", "float") and not value > 0:
                raise ValueError(f"{field.name} is {value}, expected a positive number")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads is {self.heads}, expected a multiple of kv_heads ({self.kv_heads})")
        if self.head_size % 2:
            raise ValueError(f"head_size is {self.head_size}, expected an even number")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation is {self.activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise ValueError(
                f"compute_dtype is {self.compute_dtype!r}, expected one of {', '.join(COMPUTE_DTYPES)}"
            )

    def to_json(self) -> str:
        """The canonical text of ``config.json``."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Reads ``config.json``.

        Raises:
            ValueError: A key is missing or unknown, or a value does not fit.
        """
        values = json.loads(text)
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"model config has unknown keys {unknown}, expected {sorted(known)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"model config is incomplete: {error}") from error

    def layer_parameter_count(self) -> int:
        """Parameters of one layer: attention, feed-forward and two norms."""
        attention = 2 * self.model_size * self.head_size * (self.heads + self.kv_heads)
        feed_forward = 3 * self.model_size * self.feed_forward_size
        return attention + feed_forward + 2 * self.model_size

    def parameter_count(self) -> int:
        """Parameters in all; the tied embedding counts once."""
        return (
            self.vocab_size * self.model_size + self.layers * self.layer_parameter_count() + self.model_size
        )

    def flops_per_token(self, sequence_length_tokens: int | None = None) -> int:
        """Floating-point operations to train on one token: forward and backward.

        Args:
            sequence_length_tokens: Length of the rows trained on; the longest by default.

        References:
            Kaplan et al. 2020, arXiv 2001.08361, section 2.1: six per weight in a matrix product. Attention adds
            12 T N H per layer (scores and mixing, not halved for causality, as the code computes the full square).
        """
        length = sequence_length_tokens or self.max_sequence_tokens
        weights = self.vocab_size * self.model_size + self.layers * (
            self.layer_parameter_count() - 2 * self.model_size
        )
        return 6 * weights + 12 * self.layers * length * self.heads * self.head_size
