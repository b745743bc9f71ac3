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

from millrace.model.losses.cross_entropy import cross_entropy
from millrace.model.losses.next_token import NextTokenLoss
from millrace.model.network import decoder as network
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Cache, Decoder, TrainingMode, init_cache
from millrace.model.package import weights

CHANGES: dict[str, dict[str, Any]] = {
    "grouped": {},
    "multi-query": {"kv_heads": 1, "activation": "silu"},
    "multi-head": {"kv_heads": 4, "rope_base": 500.0},
    "query-key norm": {"query_key_norm": True},
    "untied and capped": {"tied_embedding": False, "logit_soft_cap": 0.5},
    "local and global": {"layers": 6, "local_window_tokens": 3, "global_every_layers": 3},
    "experts": {"experts": 4, "experts_per_token": 2},
}


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
            q, k = h @ at["attention.query"][:, head], h @ at["attention.key"][:, shared]
            if config.query_key_norm:
                q, k = norm(q, at["attention.query_norm.scale"]), norm(k, at["attention.key_norm.scale"])
            q = [turn(v, t) for t, v in enumerate(q)]
            k = [turn(v, t) for t, v in enumerate(k)]
            v = h @ at["attention.value"][:, shared]
            for t in range(len(ids)):
                window = config.local_window_tokens if (n + 1) % config.global_every_layers else None
                seen = range(max(t + 1 - window, 0) if window else 0, t + 1)
                scores = np.array([q[t] @ k[s] for s in seen]) / math.sqrt(config.head_size)
                share = np.exp(scores - scores.max())
                mixed[t] += (share / share.sum()) @ v[seen] @ at["attention.out"][head]
        x = x + mixed
        h = norm(x, at["feed_forward_norm.scale"])
        wide = [at[f"feed_forward.{part}"] for part in ("gate", "up", "out")]
        if not config.experts:
            x = x + (gate(h @ wide[0]) * (h @ wide[1])) @ wide[2]
            continue
        for t, state in enumerate(h):
            scores = state @ at["feed_forward.router"]
            chosen = np.argsort(-scores)[: config.experts_per_token]
            share = np.exp(scores[chosen]) / np.exp(scores[chosen]).sum()
            for e, weight in zip(chosen, share, strict=True):
                x[t] += weight * (gate(state @ wide[0][e]) * (state @ wide[1][e])) @ wide[2][e]
    logits = norm(x, w["final_norm.scale"]) @ w["embedding" if config.tied_embedding else "unembedding"].T
    return (
        config.logit_soft_cap * np.tanh(logits / config.logit_soft_cap) if config.logit_soft_cap else logits
    )


@pytest.mark.parametrize(
    "change",
    CHANGES.values(),
    ids=CHANGES.keys(),
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
    mixed, _ = decoder.train_hidden(ids, TrainingMode(), rope_base=jnp.asarray([10_000.0, 500.0]))
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


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_cache_changes_nothing(small_config: ModelConfig, change: dict[str, Any]) -> None:
    """Fed in pieces of 7, 1, 1 and 5 tokens the logits are those of one pass."""
    config = replace(small_config, **change)
    decoder = network.create(config, 0)
    ids = jnp.asarray(tokens_of(config, 3, 14))
    whole, cache, at = forward(decoder, ids), init_cache(config, 3, 20), 0
    for size in (7, 1, 1, 5):
        logits, cache = extend(decoder, ids[:, at : at + size], cache)
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


@pytest.mark.parametrize("change", [CHANGES["grouped"], CHANGES["experts"]], ids=["dense", "experts"])
def test_what_is_recomputed_gives_the_same_gradients(
    small_config: ModelConfig, change: dict[str, Any]
) -> None:
    """Keeping all, products only or inputs only changes memory, not slopes."""
    config = replace(small_config, **change, layers=network.UNROLLED_LAYERS + 2)
    decoder = network.create(config, 0)
    graph, params = nnx.split(decoder)
    batch = {"tokens": jnp.asarray(tokens_of(config, 2, 12))}

    def slopes(remat: str, unroll: bool = False) -> nnx.State:
        loss = NextTokenLoss(TrainingMode(remat=remat, unroll=unroll))
        return jax.jit(jax.grad(lambda params: loss(nnx.merge(graph, params), batch)[0]))(params)

    kept = slopes("none")
    for other in (slopes("dots"), slopes("full"), slopes("dots", unroll=True)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), other, kept)


def test_compiling_costs_one_layer_however_deep_the_model_is(small_config: ModelConfig) -> None:
    """The traced program of a step has as many operations for 48 layers as for 12."""

    def operations(layers: int) -> int:
        config = replace(small_config, layers=layers)
        decoder = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
        graph, params = nnx.split(decoder)
        loss = NextTokenLoss(TrainingMode(remat="full"))

        def measure(params: nnx.State, tokens: jax.Array) -> jax.Array:
            return loss(nnx.merge(graph, params), {"tokens": tokens})[0]

        tokens = jax.ShapeDtypeStruct((2, 9), jnp.int32)
        return jax.jit(jax.grad(measure)).lower(params, tokens).as_text().count("stablehlo.")

    assert operations(48) == operations(12)


def product_flops(program: Any) -> int:
    """Floating-point operations of all matrix products in a jaxpr and in those it calls.

    XLA's own cost analysis counts the body of a loop once, whatever the number of its passes.
    """
    total = 0
    for equation in program.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            inner = math.prod(shape[axis] for axis in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        if equation.primitive.name == "ragged_dot_general":
            # Every row of the left operand meets one group's matrix.
            numbers = equation.params["ragged_dot_dimension_numbers"]
            ((_, contracted), _) = numbers.dot_dimension_numbers
            left, right = (operand.aval.shape for operand in equation.invars[:2])
            out = {*range(len(right))} - {*contracted, *numbers.rhs_group_dimensions}
            total += 2 * math.prod(left) * math.prod(right[axis] for axis in out)
        passes = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            inner_program = getattr(value, "jaxpr", value)
            if hasattr(inner_program, "eqns"):
                total += passes * product_flops(inner_program)
    return total


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_counted_work_is_that_of_the_traced_program(
    small_config: ModelConfig, change: dict[str, Any]
) -> None:
    """Every product in forward and backward pass, times the passes of its loop, adds up to the formula within 3%."""
    config = replace(small_config, **change)
    graph, params = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))

    def measure(params: nnx.State, tokens: jax.Array) -> jax.Array:
        return NextTokenLoss()(nnx.merge(graph, params), {"tokens": tokens})[0]

    traced = jax.make_jaxpr(jax.grad(measure))(params, jax.ShapeDtypeStruct((4, 33), jnp.int32))
    assert product_flops(traced.jaxpr) == pytest.approx(config.flops_per_token(32) * 4 * 32, rel=0.03)
