"""A sparse feed-forward layer: a router sends each token through a few of many gated networks.

Two ways to compute the same sum. Dropless sorts the tokens by expert and multiplies ragged groups, so that no token is
lost however uneven the router is; inference always does so. Capacity gives each expert a fixed number of
places in every row, so that all shapes are known and experts can lie on different devices; tokens beyond it skip the
layer, first choices before second ones. With a capacity that nothing exceeds the two agree.

The weights of a token's experts are the softmax over those experts' logits alone, so they sum to one, and a layer
whose experts are all the same is the dense layer.

References:
    Shazeer et al. 2017, Outrageously Large Neural Networks, arXiv 1701.06538; Lepikhin et al. 2020, GShard,
    arXiv 2006.16668, algorithm 1 (capacity); Gale et al. 2022, MegaBlocks, arXiv 2211.15841 (dropless).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from millrace.model.devices.sharding import constrain

from .config import ModelConfig
from .initial_weights import InitialWeights

RouterLosses = dict[str, jax.Array]


def gated(gate: jax.Array, up: jax.Array, activation: str) -> jax.Array:
    """The gated product of a feed-forward layer: ``gelu`` is GeGLU, ``silu`` SwiGLU."""
    return (jax.nn.silu(gate) if activation == "silu" else jax.nn.gelu(gate, approximate=True)) * up


class Experts(nnx.Module):
    """Router and experts of one layer."""

    def __init__(self, config: ModelConfig, initial: InitialWeights) -> None:
        self.config = config
        d, f, e = config.model_size, config.feed_forward_size, config.experts
        self.router = nnx.Param(initial.take((d, e), d**-0.5))
        self.gate = nnx.Param(initial.take((e, d, f), d**-0.5))
        self.up = nnx.Param(initial.take((e, d, f), d**-0.5))
        self.out = nnx.Param(initial.take((e, f, d), (f * 2 * config.layers) ** -0.5))

    def __call__(self, x: jax.Array, capacity_factor: float | None = None) -> tuple[jax.Array, RouterLosses]:
        """Routes and mixes.

        Args:
            x: [B, T, D], normed.
            capacity_factor: Places of an expert in a row over its share of the row's choices; None is dropless.

        Returns:
            [B, T, D], and the router's losses: ``router_balance``, 1 when choices and probabilities are spread evenly
            (Fedus et al. 2021, Switch Transformers, arXiv 2101.03961, equation 4), and ``router_z``, the mean squared
            log-normaliser of its logits (Zoph et al. 2022, ST-MoE, arXiv 2202.08906, equation 5).
        """
        c = self.config
        # Float32 throughout: a rounded logit sends a token elsewhere.
        logits = x.astype(jnp.float32) @ self.router[...]
        top, chosen = jax.lax.top_k(logits, c.experts_per_token)
        weights = jax.nn.softmax(top, axis=-1).astype(x.dtype)
        share = jnp.mean(jax.nn.one_hot(chosen, c.experts, dtype=jnp.float32), axis=(0, 1, 2))
        probability = jnp.mean(jax.nn.softmax(logits, axis=-1), axis=(0, 1))
        losses = {
            "router_balance": c.experts * jnp.sum(share * probability),
            "router_z": jnp.mean(jax.nn.logsumexp(logits, axis=-1) ** 2),
        }
        if capacity_factor is None:
            return self._dropless(x, weights, chosen), losses
        return self._with_capacity(x, weights, chosen, capacity_factor), losses

    def _dropless(self, x: jax.Array, weights: jax.Array, chosen: jax.Array) -> jax.Array:
        b, t, d = x.shape
        choices = chosen.shape[-1]
        order = jnp.argsort(chosen.reshape(-1), stable=True)
        sizes = jnp.bincount(chosen.reshape(-1), length=self.config.experts).astype(jnp.int32)
        rows = x.reshape(-1, d)[order // choices]

        def product(rows: jax.Array, weight: jax.Array) -> jax.Array:
            return jax.lax.ragged_dot(rows, weight.astype(x.dtype), sizes)

        hidden = gated(product(rows, self.gate[...]), product(rows, self.up[...]), self.config.activation)
        out = product(hidden, self.out[...])
        # The inverse of the sort puts a token's choices beside each other, so that adding them up needs no scatter.
        out = out[jnp.argsort(order)].reshape(b, t, choices, d)
        return jnp.einsum("BTCD,BTC->BTD", out, weights)

    def _with_capacity(
        self, x: jax.Array, weights: jax.Array, chosen: jax.Array, capacity_factor: float
    ) -> jax.Array:
        b, t, _ = x.shape
        e, choices = self.config.experts, chosen.shape[-1]
        places = min(math.ceil(t * choices * capacity_factor / e), t)
        picks = jax.nn.one_hot(chosen, e, dtype=jnp.int32)  # [B, T, C, E]
        # First choices of all tokens queue before second ones.
        queue = picks.swapaxes(1, 2).reshape(b, choices * t, e)
        place = (jnp.cumsum(queue, axis=1) - queue).reshape(b, choices, t, e).swapaxes(1, 2)
        place = jnp.sum(place * picks, axis=-1)  # [B, T, C]
        seats = jax.nn.one_hot(place, places, dtype=x.dtype)  # all zero where the place is beyond the last
        sent = jnp.einsum("BTCE,BTCP->BTEP", picks.astype(x.dtype), seats)
        mixed = jnp.einsum("BTCE,BTCP,BTC->BTEP", picks.astype(x.dtype), seats, weights)
        # Tokens travel to their experts' devices here, and back in the last product.
        inputs = constrain(jnp.einsum("BTEP,BTD->EBPD", sent, x), "experts", "expert_batch", None, None)
        gate = jnp.einsum("EBPD,EDF->EBPF", inputs, self.gate[...].astype(x.dtype))
        up = jnp.einsum("EBPD,EDF->EBPF", inputs, self.up[...].astype(x.dtype))
        out = jnp.einsum(
            "EBPF,EFD->EBPD", gated(gate, up, self.config.activation), self.out[...].astype(x.dtype)
        )
        return jnp.einsum("BTEP,EBPD->BTD", mixed, out)
