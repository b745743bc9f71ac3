"""The decoder: tied embedding, pre-norm layers of attention and gated feed-forward, final norm.

The layers' weights are stacked on a leading axis and the forward pass scans over it, so that tracing and compiling cost
one layer however deep the model is. A shallow model is unrolled: at four layers that compiles in the same time and runs
a training step in 0.88 of it.

Initialisation makes the first loss ln V: the embedding's standard deviation is 1/D, so a normed state (root mean square
1) gives logits of about 1/sqrt(D), and even the logit of the input token itself, which the tied embedding favours,
stays below 1. The embedding is scaled back up by D on the way in, so that the residual stream starts at unit variance.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

import jax
import jax.numpy as jnp
from flax import nnx

from millrace.model.devices.sharding import constrain

from .attention import Attention, Cache, init_cache, rotary_angles
from .attention_kernels import Sight, is_flash_result
from .config import ModelConfig
from .experts import Experts, RouterLosses, gated
from .initial_weights import InitialWeights
from .linear import linear, soft_cap
from .norm import RMSNorm

STREAM = ("batch", "time", None)
UNROLLED_LAYERS = 4


def _products(primitive: Any, *operands: Any, **params: Any) -> bool:
    """The policy that keeps products with weights and flash attention: all that costs more to do again than to keep."""
    is_product = jax.checkpoint_policies.dots_with_no_batch_dims_saveable(primitive, *operands, **params)
    return bool(is_product) or is_flash_result(primitive, params)


REMAT: dict[str, Callable[..., Any] | None] = {
    "none": None,
    "dots": _products,
    "full": jax.checkpoint_policies.nothing_saveable,
}

__all__ = ["Cache", "Decoder", "RMSNorm", "TrainingMode", "create", "init_cache"]


class FeedForward(nnx.Module):
    """Gated feed-forward layer: out(activation(gate x) * (up x)).

    References:
        Shazeer 2020, GLU Variants Improve Transformer, arXiv 2002.05202.
    """

    def __init__(self, config: ModelConfig, initial: InitialWeights) -> None:
        self.activation = config.activation
        d, f = config.model_size, config.feed_forward_size
        self.gate = nnx.Param(initial.take((d, f), d**-0.5))
        self.up = nnx.Param(initial.take((d, f), d**-0.5))
        self.out = nnx.Param(initial.take((f, d), (f * 2 * config.layers) ** -0.5))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to [B, T, D]."""
        hidden = gated(linear(x, self.gate[...]), linear(x, self.up[...]), self.activation)
        return linear(hidden, self.out[...])


@dataclass(frozen=True)
class TrainingMode:
    """Options of a forward pass that is differentiated.

    Attributes:
        remat: The results that a layer keeps for its backward pass: ``none`` keeps all, ``dots`` the results of matrix
            products with weights and of flash attention (fastest on a GPU, where memory is slower to move than cheap
            operations are to repeat), ``full`` the layer's input only (least memory, a third more computation).
        capacity_factor: See ``Experts``; None is dropless.
        unroll: Whether every layer is compiled by itself: on a GPU 1.05 times as fast, since nothing is copied into and
            out of a loop, but the time to compile and the memory grow with depth.
    """

    remat: str = "none"
    capacity_factor: float | None = None
    unroll: bool = False

    def __post_init__(self) -> None:
        if self.remat not in REMAT:
            raise ValueError(f"remat is {self.remat!r}, expected one of {', '.join(REMAT)}")

    def wrap(self, layer: Callable[..., Any]) -> Callable[..., Any]:
        """The layer's function, recomputed in the backward pass as the mode says."""
        if self.remat == "none":
            return layer
        # Inside a scan nothing can be shared between forward and backward pass, so guarding against it only costs.
        return jax.checkpoint(layer, policy=REMAT[self.remat], prevent_cse=False)


PLAIN = TrainingMode()


class Layer(nnx.Module):
    """One decoder layer: two pre-normed residual branches."""

    def __init__(self, config: ModelConfig, initial: InitialWeights) -> None:
        self.attention_norm = RMSNorm(config.model_size, config.norm_epsilon)
        self.attention = Attention(config, initial)
        self.feed_forward_norm = RMSNorm(config.model_size, config.norm_epsilon)
        self.feed_forward: nnx.Module = (
            Experts(config, initial) if config.experts else FeedForward(config, initial)
        )

    def __call__(
        self,
        x: jax.Array,
        slots: tuple[jax.Array, jax.Array] | None,
        *,
        capacity_factor: float | None,
        **attention: Any,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None, RouterLosses]:
        """Maps [B, T, D] to [B, T, D]; see ``Attention`` and ``Experts`` for the other arguments."""
        mixed, slots = self.attention(self.attention_norm(x), slots=slots, **attention)
        x = x + mixed
        normed = self.feed_forward_norm(x)
        if isinstance(self.feed_forward, Experts):
            out, losses = self.feed_forward(normed, capacity_factor)
            return x + out, slots, losses
        return x + self.feed_forward(normed), slots, {}


class Decoder(nnx.Module):
    """A decoder-only Transformer.

    Args:
        config: The model's shape.
        rngs: Source of the initial weights, ``nnx.Rngs(seed)``.

    References:
        Vaswani et al. 2017, arXiv 1706.03762; Chen et al. 2016, arXiv 1604.06174 (recomputing activations); Gemini Team 2023, arXiv 2312.11805, section 2 (decoder-only,
        multi-query attention); Press & Wolf 2017, arXiv 1608.05859 (tied embeddings).
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        v, d = config.vocab_size, config.model_size
        self.embedding = nnx.Param(jax.random.normal(rngs.params(), (v, d)) / d)
        if not config.tied_embedding:
            self.unembedding = nnx.Param(jax.random.normal(rngs.params(), (v, d)) / d)
        self.layers = nnx.vmap(lambda values: Layer(config, InitialWeights(values)))(
            jax.random.normal(rngs.params(), (config.layers, config.layer_parameter_count()))
        )
        self.final_norm = RMSNorm(d, config.norm_epsilon)

    def _states(
        self,
        tokens: jax.Array,
        cache: Cache | None,
        positions: jax.Array | None,
        mask: jax.Array | None,
        mode: TrainingMode = PLAIN,
        rope_base: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache | None, RouterLosses]:
        config = self.config
        steps = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :]
        if positions is None:
            positions = steps if cache is None else cache.lengths[:, None] + steps
        if cache is None:
            # Rows are compared by index, not position, so that packed rows may restart their positions.
            visible = steps[:, :, None] >= steps[:, None, :]
            if mask is not None:
                visible = visible & (mask if mask.ndim == 3 else mask[:, None, :])
            sight = Sight(visible, steps, is_causal=mask is None, looks_back=True)
        else:
            room = jnp.arange(cache.keys.shape[3], dtype=jnp.int32)
            visible = positions[:, :, None] >= room[None, None, :]
            sight = Sight(visible, positions, is_causal=False, looks_back=False)
        base = config.rope_base if rope_base is None else rope_base[:, None, None, None]
        angles = rotary_angles(positions, config.head_size, base)
        x = (self.embedding[...][tokens] * config.model_size).astype(config.compute_dtype)
        x = constrain(x, *STREAM)
        graph, weights = nnx.split(self.layers)
        windows = config.windows()

        def layer(window: int | None, x: jax.Array, weights: nnx.State, slots: Any) -> Any:
            module: Layer = nnx.merge(graph, weights)
            x, *rest = module(
                x,
                slots,
                positions=positions,
                angles=angles,
                sight=sight.windowed(window),
                capacity_factor=mode.capacity_factor,
            )
            return constrain(x, *STREAM), *rest

        def period(x: jax.Array, inputs: tuple[nnx.State, Any]) -> tuple[jax.Array, Any]:
            outputs = []
            for number, window in enumerate(windows):
                own = jax.tree.map(operator.itemgetter(number), inputs)
                x, *rest = mode.wrap(functools.partial(layer, window))(x, *own)
                outputs.append(rest)
            return x, jax.tree.map(lambda *parts: jnp.stack(parts), *outputs)

        slots = None if cache is None else (cache.keys, cache.values)
        periods = config.layers // len(windows)
        stacked = jax.tree.map(
            lambda leaf: leaf.reshape(periods, len(windows), *leaf.shape[1:]), (weights, slots)
        )
        unroll = periods if mode.unroll or config.layers <= UNROLLED_LAYERS else 1
        x, (slots, losses) = jax.lax.scan(period, x, stacked, unroll=unroll)
        if cache is not None and slots is not None:
            keys, values = (part.reshape(config.layers, *part.shape[2:]) for part in slots)
            counts = tokens.shape[1] if mask is None else jnp.sum(mask, axis=1, dtype=jnp.int32)
            cache = Cache(keys, values, cache.lengths + counts)
        return self.final_norm(x), cache, {name: jnp.mean(values) for name, values in losses.items()}

    def hidden(
        self, tokens: jax.Array, *, positions: jax.Array | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        """The final normed states.

        Args:
            tokens: [B, T] int32.
            positions: [B, T] int32; 0..T-1 by default.
            mask: [B, T] bool, tokens that may be seen at all, or [B, T, T] bool, which tokens (last axis) each
                position may see. Causality holds in any case.

        Returns:
            [B, T, D] in the compute dtype.
        """
        return self._states(tokens, None, positions, mask)[0]

    def train_hidden(
        self,
        tokens: jax.Array,
        mode: TrainingMode,
        *,
        positions: jax.Array | None = None,
        mask: jax.Array | None = None,
        rope_base: jax.Array | None = None,
    ) -> tuple[jax.Array, RouterLosses]:
        """As ``hidden`` in a training mode.

        Args:
            tokens: [B, T] int32.
            mode: The results to recompute, and how experts are filled.
            positions: As in ``hidden``.
            mask: As in ``hidden``.
            rope_base: [B] float32 in place of the configuration's, for phases that extend the context.

        Returns:
            The states, and the mean of the layers' router losses; none for a dense model.
        """
        states, _, losses = self._states(tokens, None, positions, mask, mode, rope_base)
        return states, losses

    def extend(
        self, tokens: jax.Array, cache: Cache, *, mask: jax.Array | None = None
    ) -> tuple[jax.Array, Cache]:
        """Like a call with a cache, but returns final normed states [B, T, D] in place of logits: of a long prompt only
        the last position is unembedded.
        """
        hidden, after, _ = self._states(tokens, cache, None, mask)
        assert after is not None
        return hidden, after

    def logit_table(self) -> jax.Array:
        """[V, D] float32, whose products with the normed states are the logits before their soft cap."""
        return self.embedding[...] if self.config.tied_embedding else self.unembedding[...]

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """Logits of normed states: [..., D] to [..., V] float32."""
        table = self.logit_table().astype(hidden.dtype)
        logits = jnp.einsum("...D,VD->...V", hidden, table, preferred_element_type=jnp.float32)
        return soft_cap(logits, self.config.logit_soft_cap)

    @overload
    def __call__(
        self, tokens: jax.Array, *, positions: jax.Array | None = None, mask: jax.Array | None = None
    ) -> jax.Array: ...

    @overload
    def __call__(
        self,
        tokens: jax.Array,
        *,
        cache: Cache,
        positions: jax.Array | None = None,
        mask: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache]: ...

    def __call__(
        self,
        tokens: jax.Array,
        *,
        cache: Cache | None = None,
        positions: jax.Array | None = None,
        mask: jax.Array | None = None,
    ) -> jax.Array | tuple[jax.Array, Cache]:
        """Logits of the next token at every position.

        Args:
            tokens: [B, T] int32.
            cache: Keys and values of the tokens before; None starts afresh and keeps nothing.
            positions: [B, T] int32; by default 0..T-1, with a cache continued from each row's length.
            mask: Without a cache as in ``hidden``. With a cache [B, T] bool, True for tokens and False for padding
                to their right, which does not count towards the row's length.

        Returns:
            [B, T, V] float32; with a cache, the pair of logits and updated cache.
        """
        hidden, after, _ = self._states(tokens, cache, positions, mask)
        logits = self.unembed(hidden)
        return logits if after is None else (logits, after)


@functools.partial(nnx.jit, static_argnums=(0, 1))
def create(config: ModelConfig, seed: int) -> Decoder:
    """A decoder with fresh weights, compiled as one program (operation by operation takes twice as long), and once."""
    return Decoder(config, rngs=nnx.Rngs(seed))
