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
        tied_embedding: Whether the embedding also makes the logits; else the decoder has an ``unembedding`` of its own.
        query_key_norm: Whether queries and keys are RMS-normed per head before they are rotated.
        logit_soft_cap: Bound of the logits, ``cap * tanh(logit / cap)``; None leaves them alone.
        local_window_tokens: Tokens, itself included, that a position of a local layer sees; None makes all layers
            global.
        global_every_layers: With a window, every such layer is global and those between are local.
        experts: E, the feed-forward networks that a router picks from; 0 is a dense model.
        experts_per_token: How many of them each token goes through.

    Raises:
        ValueError: A size is not positive or does not divide as it must.

    References:
        Shazeer 2019, Fast Transformer Decoding (multi-query attention), arXiv 1911.02150.
        Ainslie et al. 2023, GQA, arXiv 2305.13245.
        Su et al. 2021, RoFormer, arXiv 2104.09864, section 3.2 (base 10,000).
        Shazeer 2020, GLU Variants Improve Transformer, arXiv 2002.05202.
        Henry et al. 2020, Query-Key Normalization, arXiv 2010.04245; Dehghani et al. 2023, arXiv 2302.05442,
        section 2 (it keeps attention logits from growing).
        Gemma Team 2024, Gemma 2, arXiv 2408.00118, section 2 (logit soft cap, local and global layers in turn).
        Jiang et al. 2024, Mixtral of Experts, arXiv 2401.04088, section 2.1 (the sparse layer).
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
    tied_embedding: bool = True
    query_key_norm: bool = False
    logit_soft_cap: float | None = None
    local_window_tokens: int | None = None
    global_every_layers: int = 6
    experts: int = 0
    experts_per_token: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "experts" or value is None or isinstance(value, bool | str):
                continue
            if not value > 0:
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

        if self.local_window_tokens is not None and self.layers % self.global_every_layers:
            raise ValueError(
                f"layers is {self.layers}, expected a multiple of global_every_layers ({self.global_every_layers}) "
                "where local_window_tokens is set"
            )
        if self.experts < 0 or 0 < self.experts < self.experts_per_token:
            raise ValueError(
                f"experts is {self.experts}, expected 0 or at least experts_per_token ({self.experts_per_token})"
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

    def windows(self) -> tuple[int | None, ...]:
        """The period of attention windows that the layers repeat: (None,), or local ones and then a global one."""
        if self.local_window_tokens is None:
            return (None,)
        return (*(self.local_window_tokens,) * (self.global_every_layers - 1), None)

    def layer_parameter_count(self) -> int:
        """Parameters of one layer: attention, feed-forward and norms."""
        norms = 2 * self.model_size + (2 * self.head_size if self.query_key_norm else 0)
        return self._attention_weights() + self._feed_forward_weights(max(self.experts, 1)) + norms

    def parameter_count(self) -> int:
        """Parameters in all; a tied embedding counts once."""
        return (
            self._embeddings() * self.vocab_size * self.model_size
            + self.layers * self.layer_parameter_count()
            + self.model_size
        )

    def active_parameter_count(self) -> int:
        """Parameters that a token meets: all of a dense model, with experts those that the router picks."""
        idle = max(self.experts - self.experts_per_token, 0)
        return self.parameter_count() - self.layers * idle * 3 * self.model_size * self.feed_forward_size

    def flops_per_token(self, sequence_length_tokens: int | None = None) -> int:
        """Floating-point operations to train on one token: forward and backward, without recomputation.

        Args:
            sequence_length_tokens: Length of the rows trained on; the longest by default.

        References:
            Kaplan et al. 2020, arXiv 2001.08361, section 2.1: six per weight in a matrix product. Attention adds
            12 T N H per layer (scores and mixing, not halved for causality or windows, as the plain code computes
            the full square).
        """
        length = sequence_length_tokens or self.max_sequence_tokens
        layer = self._attention_weights() + self._feed_forward_weights(self.experts_per_token)
        weights = self.vocab_size * self.model_size + self.layers * layer
        return 6 * weights + 12 * self.layers * length * self.heads * self.head_size

    def _embeddings(self) -> int:
        return 1 if self.tied_embedding else 2

    def _attention_weights(self) -> int:
        return 2 * self.model_size * self.head_size * (self.heads + self.kv_heads)

    def _feed_forward_weights(self, experts: int) -> int:
        """Number of weights of this many experts and their router, or of the one network of a dense model."""
        network = 3 * self.model_size * self.feed_forward_size
        return experts * network + self.model_size * self.experts if self.experts else network
