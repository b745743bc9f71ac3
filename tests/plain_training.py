"""A decoder and AdamW written as plainly as they are in the papers: what a training curve is compared with.

Nothing is shared with the code under test but the initial weights: no scan, no chunks, no fused gradient, no Optax.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from millrace.model.network.config import ModelConfig

Weights = dict[str, jax.Array]


def logits_of(config: ModelConfig, w: Weights, tokens: jax.Array) -> jax.Array:
    """[B, T] ids to [B, T, V], one layer after the other."""
    t, half = tokens.shape[1], config.head_size // 2
    angles = np.arange(t)[:, None] * config.rope_base ** (-2 * np.arange(half) / config.head_size)
    cos, sin = jnp.asarray(np.cos(angles), jnp.float32), jnp.asarray(np.sin(angles), jnp.float32)

    def norm(x: jax.Array, scale: jax.Array) -> jax.Array:
        return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + config.norm_epsilon) * scale

    def turn(x: jax.Array) -> jax.Array:
        a, b = x[..., :half], x[..., half:]
        return jnp.concatenate(
            [a * cos[:, None] - b * sin[:, None], b * cos[:, None] + a * sin[:, None]], axis=-1
        )

    x = w["embedding"][tokens] * float(config.model_size)
    for n in range(config.layers):
        layer = {name.removeprefix("layers."): v[n] for name, v in w.items() if name.startswith("layers.")}
        h = norm(x, layer["attention_norm.scale"])
        q = turn(jnp.einsum("btd,dnh->btnh", h, layer["attention.query"]))
        k = turn(jnp.einsum("btd,dkh->btkh", h, layer["attention.key"]))
        v = jnp.einsum("btd,dkh->btkh", h, layer["attention.value"])
        k, v = (jnp.repeat(x, config.heads // config.kv_heads, axis=2) for x in (k, v))
        scores = jnp.einsum("btnh,bsnh->bnts", q, k) / math.sqrt(config.head_size)
        scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, -jnp.inf)
        mixed = jnp.einsum("bnts,bsnh->btnh", jax.nn.softmax(scores), v)
        x = x + jnp.einsum("btnh,nhd->btd", mixed, layer["attention.out"])
        h = norm(x, layer["feed_forward_norm.scale"])
        gate = jax.nn.gelu(h @ layer["feed_forward.gate"]) * (h @ layer["feed_forward.up"])
        x = x + gate @ layer["feed_forward.out"]
    return norm(x, w["final_norm.scale"]) @ w["embedding"].T


def train(
    config: ModelConfig, weights: dict[str, np.ndarray], batches: Any, steps: int, rate: float
) -> np.ndarray:
    """Losses of ``steps`` steps of AdamW (0.9, 0.95, decay 0.1 of all but norms) after clipping to norm 1."""

    def loss_of(w: Weights, tokens: jax.Array) -> jax.Array:
        log_probs = jax.nn.log_softmax(logits_of(config, w, tokens[:, :-1]))
        return -jnp.mean(jnp.take_along_axis(log_probs, tokens[:, 1:, None], axis=-1))

    @jax.jit
    def step(
        w: Weights, m: Weights, v: Weights, number: jax.Array, tokens: jax.Array
    ) -> tuple[Weights, Weights, Weights, jax.Array]:
        loss, g = jax.value_and_grad(loss_of)(w, tokens)
        size = jnp.sqrt(sum(jnp.sum(x**2) for x in g.values()))
        g = {name: x / jnp.maximum(size, 1.0) for name, x in g.items()}
        m = {name: 0.9 * m[name] + 0.1 * x for name, x in g.items()}
        v = {name: 0.95 * v[name] + 0.05 * x**2 for name, x in g.items()}
        new = {}
        for name, x in w.items():
            update = (m[name] / (1 - 0.9**number)) / (jnp.sqrt(v[name] / (1 - 0.95**number)) + 1e-8)
            decay = 0.0 if name.endswith("scale") else 0.1
            new[name] = x - rate * (update + decay * x)
        return new, m, v, loss

    w = {name: jnp.asarray(x) for name, x in weights.items()}
    m = {name: jnp.zeros_like(x) for name, x in w.items()}
    v, losses = m, []
    for number in range(steps):
        w, m, v, loss = step(w, m, v, jnp.float32(number + 1), jnp.asarray(batches(number)["tokens"]))
        losses.append(float(loss))
    return np.asarray(losses)
