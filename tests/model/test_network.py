"""The decoder equals a plain reference in NumPy, with and without a cache, and starts at loss ln V."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from millrace.model import network, weights
from millrace.model.config import ModelConfig
from millrace.model.loss import cross_entropy
from millrace.model.network import Cache, Decoder, init_cache


@nnx.jit
def forward(decoder: Decoder, ids: jax.Array) -> jax.Array:
    return decoder(ids)


@nnx.jit
def extend(
    decoder: Decoder, ids: jax.Array, cache: Cache, mask: jax.Array | None = None
) -> tuple[jax.Array, Cache]:
    return decoder(ids, cache=cache, mask=mask)


def tokens_of(config: ModelConfig, rows: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, config.vocab_size, (rows, length)).astype(np.int32)


def reference(config: ModelConfig, tensors: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """Logits [T, V] of one sequence in float64: every head and position in its own loop."""
    w = {name: value.astype(np.float64) for name, value in tensors.items()}

    def norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + config.norm_epsilon) * scale

    def turn(x: np.ndarray, position: int) -> np.ndarray:
        half = config.head_size // 2
        turned = np.empty_like(x)
        for i in range(half):
            angle = position * config.rope_base ** (-2 * i / config.head_size)
            turned[i] = x[i] * math.cos(angle) - x[i + half] * math.sin(angle)
            turned[i + half] = x[i + half] * math.cos(angle) + x[i] * math.sin(angle)
        return turned

    def gate(x: np.ndarray) -> np.ndarray:
        if config.activation == "silu":
            return x / (1 + np.exp(-x))
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    x = w["embedding"][ids] * config.model_size
    for n in range(config.layers):
        at = {
            name.removeprefix("layers."): value[n] for name, value in w.items() if name.startswith("layers.")
        }
        h = norm(x, at["attention_norm.scale"])
        mixed = np.zeros_like(x)
        for head in range(config.heads):
            shared = head // (config.heads // config.kv_heads)
            q = [turn(v @ at["attention.query"][:, head], t) for t, v in enumerate(h)]
            k = [turn(v @ at["attention.key"][:, shared], t) for t, v in enumerate(h)]
            v = h @ at["attention.value"][:, shared]
            for t in range(len(ids)):
                scores = np.array([q[t] @ k[s] for s in range(t + 1)]) / math.sqrt(config.head_size)
                share = np.exp(scores - scores.max())
                mixed[t] += (share / share.sum()) @ v[: t + 1] @ at["attention.out"][head]
        x = x + mixed
        h = norm(x, at["feed_forward_norm.scale"])
        x = x + (gate(h @ at["feed_forward.gate"]) * (h @ at["feed_forward.up"])) @ at["feed_forward.out"]
    return norm(x, w["final_norm.scale"]) @ w["embedding"].T


@pytest.mark.parametrize(
    "change",
    [{}, {"kv_heads": 1, "activation": "silu"}, {"kv_heads": 4, "rope_base": 500.0}],
    ids=["grouped", "multi-query", "multi-head"],
)
def test_logits_equal_the_reference(small_config: ModelConfig, change: dict[str, Any]) -> None:
    """Loops in float64 and the scanned, batched network agree to float32's precision."""
    config = replace(small_config, **change)
    decoder = network.create(config, 1)
    ids = tokens_of(config, 2, 11)
    for row, logits in zip(ids, np.asarray(forward(decoder, jnp.asarray(ids))), strict=True):
        np.testing.assert_allclose(logits, reference(config, weights.tensors(decoder), row), atol=2e-5)


def test_rows_may_have_their_own_rotary_base(small_config: ModelConfig) -> None:
    """A base by row gives the states of models with those bases, and matters."""
    decoder, ids = network.create(small_config, 1), jnp.asarray(tokens_of(small_config, 2, 11))
    mixed = decoder.hidden(ids, rope_base=jnp.asarray([10_000.0, 500.0]))
    other = network.create(replace(small_config, rope_base=500.0), 1)
    for row, expected in enumerate((decoder.hidden(ids), other.hidden(ids))):
        np.testing.assert_allclose(mixed[row], expected[row], atol=2e-5)
    assert not np.allclose(mixed[1], decoder.hidden(ids)[1], atol=1e-3)


def test_the_first_loss_is_that_of_a_uniform_guess(small_config: ModelConfig) -> None:
    """Loss at initialisation is ln V within 1%, whatever the sizes."""
    for config in (small_config, replace(small_config, vocab_size=4096, model_size=128)):
        ids = jnp.asarray(tokens_of(config, 8, 65))
        logits = forward(network.create(config, 0), ids[:, :-1])
        loss = float(cross_entropy(logits, ids[:, 1:], jnp.ones((8, 64), bool)))
        assert loss == pytest.approx(math.log(config.vocab_size), rel=0.01)


def test_a_cache_changes_nothing(small_config: ModelConfig, small_decoder: Decoder) -> None:
    """Fed in pieces of 7, 1, 1 and 5 tokens the logits are those of one pass."""
    ids = jnp.asarray(tokens_of(small_config, 3, 14))
    whole, cache, at = forward(small_decoder, ids), init_cache(small_config, 3, 20), 0
    for size in (7, 1, 1, 5):
        logits, cache = extend(small_decoder, ids[:, at : at + size], cache)
        np.testing.assert_allclose(logits, whole[:, at : at + size], atol=2e-6)
        at += size
    assert cache.lengths.tolist() == [14, 14, 14]


def test_rows_of_unequal_length_share_a_cache(small_config: ModelConfig, small_decoder: Decoder) -> None:
    """Right-padded prompts and their next tokens give each row the logits of one pass without a cache."""
    ids, lengths = tokens_of(small_config, 3, 10), [9, 1, 4]
    mask = np.arange(9)[None, :] < np.asarray(lengths)[:, None]
    prompts = np.where(mask, ids[:, :9], 63)
    logits, cache = extend(
        small_decoder, jnp.asarray(prompts), init_cache(small_config, 3, 12), jnp.asarray(mask)
    )
    following = jnp.asarray(ids[np.arange(3), lengths][:, None])
    further, cache = extend(small_decoder, following, cache, jnp.asarray([[True], [False], [True]]))
    assert cache.lengths.tolist() == [10, 1, 5]
    whole = forward(small_decoder, jnp.asarray(ids))
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(logits[row, :length], whole[row, :length], atol=2e-6)
        np.testing.assert_allclose(further[row, 0], whole[row, length], atol=2e-6)


def test_packed_segments_do_not_see_each_other(small_config: ModelConfig, small_decoder: Decoder) -> None:
    """Two texts in one row, with a segment mask and restarted positions, score as in rows of their own."""
    ids = tokens_of(small_config, 1, 12)
    segments, positions = np.array([[1] * 5 + [2] * 7]), np.array([[*range(5), *range(7)]], np.int32)
    mask = segments[:, :, None] == segments[:, None, :]
    packed = nnx.jit(lambda decoder, *arrays: decoder(arrays[0], positions=arrays[1], mask=arrays[2]))(
        small_decoder, jnp.asarray(ids), jnp.asarray(positions), jnp.asarray(mask)
    )
    np.testing.assert_allclose(packed[:, :5], forward(small_decoder, jnp.asarray(ids[:, :5])), atol=2e-6)
    np.testing.assert_allclose(packed[:, 5:], forward(small_decoder, jnp.asarray(ids[:, 5:])), atol=2e-6)


def test_no_token_sees_the_future(small_config: ModelConfig, small_decoder: Decoder) -> None:
    """Changing token t leaves the logits before t as they were, bit for bit."""
    ids = tokens_of(small_config, 1, 12)
    changed = ids.copy()
    changed[0, 8] = (changed[0, 8] + 1) % small_config.vocab_size
    before, after = forward(small_decoder, jnp.asarray(ids)), forward(small_decoder, jnp.asarray(changed))
    assert np.array_equal(before[:, :8], after[:, :8])
    assert not np.array_equal(before[:, 8:], after[:, 8:])


def test_bfloat16_products_stay_close(small_config: ModelConfig, small_decoder: Decoder) -> None:
    """Half the precision moves logits by a few per cent of their spread, and they stay float32."""
    rough = network.create(replace(small_config, compute_dtype="bfloat16"), 0)
    ids = jnp.asarray(tokens_of(small_config, 2, 16))
    exact, approximate = forward(small_decoder, ids), forward(rough, ids)
    assert approximate.dtype == jnp.float32
    assert float(jnp.std(exact - approximate)) < 0.05 * float(jnp.std(exact))
