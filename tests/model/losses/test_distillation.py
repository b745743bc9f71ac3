"""The loss of distillation equals its formulas in float64, with k of V tokens and with all, slopes included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from millrace.model.losses.cross_entropy import LogitTerms, linear_loss
from millrace.model.losses.distillation import (
    DistillationLoss,
    SoftTargets,
    TopLogProbs,
    divergence,
    teacher_states,
    top_divergence,
    top_log_probs,
)
from millrace.model.losses.next_token import NextTokenLoss
from millrace.model.network import decoder as network
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder

B, T, D, V = 3, 5, 8, 11
RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(B, T, D))
EMBEDDING = RNG.normal(size=(V, D))
STATES = RNG.normal(size=(B, T, D + 4))
TABLE = RNG.normal(size=(V, D + 4))
TARGETS = RNG.integers(0, V, (B, T))
MASK = RNG.random((B, T)) < 0.7


def capped(logits: np.ndarray, cap: float | None) -> np.ndarray:
    return logits if cap is None else cap * np.tanh(logits / cap)


def classes(log_probs: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """[..., k+1]: of the tokens, and of all others."""
    inside = np.zeros(log_probs.shape, bool)
    np.put_along_axis(inside, ids, True, axis=-1)
    with np.errstate(divide="ignore"):
        rest = logsumexp(np.where(inside, -np.inf, log_probs), axis=-1, keepdims=True)
    return np.concatenate([np.take_along_axis(log_probs, ids, axis=-1), rest], axis=-1)


def reference(
    hidden: np.ndarray,
    embedding: np.ndarray,
    *,
    k: int,
    temperature: float,
    weight: float,
    cap: float | None,
    z: float,
) -> float:
    """The loss as its definition reads, float64, for a teacher of ``STATES`` and ``TABLE`` with a cap of 3."""
    logits = capped(hidden @ embedding.T, cap)
    theirs = log_softmax(capped(STATES @ TABLE.T, 3.0) / temperature, axis=-1)
    ids = np.argsort(-theirs, axis=-1, kind="stable")[..., :k]
    p, q = classes(theirs, ids), classes(log_softmax(logits / temperature, axis=-1), ids)
    with np.errstate(invalid="ignore"):
        kl = np.where(np.isneginf(p), 0.0, np.exp(p) * (p - q)).sum(-1)
    normaliser = np.asarray(logsumexp(logits, axis=-1))
    hard = normaliser - np.take_along_axis(logits, TARGETS[..., None], -1)[..., 0]
    losses = weight * temperature**2 * kl + (1 - weight) * hard + z * normaliser**2
    return float(losses[MASK].mean())


def numeric_slope(of: Any, at: np.ndarray) -> np.ndarray:
    """By central differences."""
    slope, step = np.zeros(at.shape), 1e-5
    for index in np.ndindex(*at.shape):
        up, down = at.copy(), at.copy()
        up[index] += step
        down[index] -= step
        slope[index] = (of(up) - of(down)) / (2 * step)
    return slope


def stored(k: int, temperature: float) -> TopLogProbs:
    """The stored distributions of a teacher of ``STATES`` and ``TABLE`` with a cap of 3, from float64."""
    theirs = log_softmax(capped(STATES @ TABLE.T, 3.0) / temperature, axis=-1)
    ids = np.argsort(-theirs, axis=-1, kind="stable")[..., :k]
    return TopLogProbs(jnp.asarray(classes(theirs, ids), jnp.float32), jnp.asarray(ids, jnp.int32))


@pytest.mark.parametrize("chunk_tokens", [4, 512])
@pytest.mark.parametrize(
    ("k", "temperature", "weight", "cap", "z"),
    [(None, 1.0, 1.0, None, 0.0), (None, 2.5, 0.7, 2.0, 0.1), (3, 1.0, 1.0, None, 0.0), (3, 2.5, 0.7, 2.0, 0.1), (V, 0.5, 0.4, 2.0, 0.0)],
)  # fmt: skip
def test_loss_and_slopes_are_those_of_the_definition(
    k: int | None, temperature: float, weight: float, cap: float | None, z: float, chunk_tokens: int
) -> None:
    """Against float64 and its differences: both forms, temperature, weight, soft caps, z-loss, mask, any chunks."""
    seen, table, their_cap = (jnp.asarray(STATES, jnp.float32), jnp.asarray(TABLE, jnp.float32), 3.0) if k is None else (stored(k, temperature), None, None)  # fmt: skip

    def loss(hidden: jax.Array, embedding: jax.Array) -> jax.Array:
        value, _ = linear_loss(  # pyright: ignore[reportGeneralTypeIssues]  # functools.partial hides what custom_vjp returns
            hidden,
            embedding,
            (jnp.asarray(TARGETS, jnp.int32), seen),
            table,
            jnp.asarray(MASK),
            SoftTargets(temperature, weight, their_cap),
            LogitTerms(cap, z, chunk_tokens),
        )
        return value

    def expected(hidden: np.ndarray, embedding: np.ndarray) -> float:
        return reference(hidden, embedding, k=k or V, temperature=temperature, weight=weight, cap=cap, z=z)

    at = jnp.asarray(HIDDEN, jnp.float32), jnp.asarray(EMBEDDING, jnp.float32)
    value, slopes = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(*at)
    assert float(value) == pytest.approx(expected(HIDDEN, EMBEDDING), rel=2e-6)
    assert float(loss(*at)) == pytest.approx(float(value), rel=1e-6)
    np.testing.assert_allclose(slopes[0], numeric_slope(lambda x: expected(x, EMBEDDING), HIDDEN), atol=3e-6)
    np.testing.assert_allclose(slopes[1], numeric_slope(lambda x: expected(HIDDEN, x), EMBEDDING), atol=3e-6)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 20.0))
def test_fewer_classes_never_tell_more(seed: int, scale: float) -> None:
    """The divergence rises with k, from near 0 to that of all tokens at k = V."""
    rng = np.random.default_rng(seed)
    ours, theirs = (
        jax.nn.log_softmax(jnp.asarray(scale * rng.normal(size=(1, 6)), jnp.float32)) for _ in range(2)
    )
    whole, slope = divergence(ours, theirs)
    log_probs = np.asarray(theirs, np.float64)
    last, top_slope = 0.0, jnp.zeros_like(slope)
    for k in range(1, 7):
        ids = np.argsort(-log_probs, axis=-1, kind="stable")[..., :k]
        teacher = TopLogProbs(jnp.asarray(classes(log_probs, ids), jnp.float32), jnp.asarray(ids, jnp.int32))
        nats, top_slope = top_divergence(ours, teacher)
        assert float(nats[0]) >= last - 1e-5 * scale
        assert float(top_slope.sum()) == pytest.approx(0, abs=1e-5)
        last = float(nats[0])
    np.testing.assert_allclose(last, whole[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(top_slope, slope, atol=1e-5)


@pytest.fixture(scope="module")
def teacher() -> Decoder:
    """Wider than the small decoder, on its vocabulary, with a soft cap and another rotary base."""
    return network.create(
        ModelConfig(
            vocab_size=64,
            layers=1,
            model_size=48,
            heads=2,
            kv_heads=2,
            head_size=24,
            feed_forward_size=64,
            max_sequence_tokens=64,
            logit_soft_cap=4.0,
            rope_base=500.0,
        ),
        1,
    )


def packed(seed: int = 0) -> dict[str, jax.Array]:
    """Two rows of 16 targets with two segments each, some of them not to be learnt."""
    rng = np.random.default_rng(seed)
    begun = np.zeros((2, 17), np.int32)
    begun[:, 7] = 1
    positions = np.concatenate([np.arange(7), np.arange(10)])[None].repeat(2, 0)
    return {
        "tokens": jnp.asarray(rng.integers(0, 64, (2, 17)), jnp.int32),
        "segments": jnp.asarray(1 + begun.cumsum(1), jnp.int32),
        "positions": jnp.asarray(positions[:, :-1], jnp.int32),
        "learn": jnp.asarray(rng.random((2, 17)) < 0.8),
        "rope_base": jnp.full((2,), 200.0, jnp.float32),
    }


def sharpened(decoder: Decoder, factor: float = 8.0) -> Decoder:
    """A copy whose logits are far from even, as a trained model's are."""
    copy = nnx.clone(decoder)
    copy.final_norm.scale.set_value(copy.final_norm.scale[...] * factor)
    return copy


def test_the_teacher_sees_what_it_would_see_alone(small_decoder: Decoder, teacher: Decoder) -> None:
    """Online and whole: its logits are those of a plain call, with its own rotary base, cap and packed segments."""
    batch, teacher = packed(), sharpened(teacher)
    graph, weights = nnx.split(teacher)
    loss = DistillationLoss(NextTokenLoss(), 2.0, 0.6, graph)
    found, metrics = loss(small_decoder, batch, weights)
    inside = batch["segments"][:, :-1]
    mask = inside[:, :, None] == inside[:, None, :]
    inputs = batch["tokens"][:, :-1]
    theirs = np.asarray(teacher(inputs, positions=batch["positions"], mask=mask), np.float64)
    hidden, _ = small_decoder.train_hidden(
        inputs, network.PLAIN, positions=batch["positions"], mask=mask, rope_base=batch["rope_base"]
    )
    ours = np.asarray(small_decoder.unembed(hidden), np.float64)
    p, q = log_softmax(theirs / 2, axis=-1), log_softmax(ours / 2, axis=-1)
    learn = np.asarray(batch["learn"][:, 1:])
    kl = (np.exp(p) * (p - q)).sum(-1)[learn].mean()
    hard = -np.take_along_axis(log_softmax(ours, axis=-1), np.asarray(batch["tokens"])[:, 1:, None], -1)[..., 0][learn].mean()  # fmt: skip
    assert float(metrics["distillation_loss"]) == pytest.approx(4 * kl, rel=1e-4)
    assert float(metrics["hard_loss"]) == pytest.approx(hard, rel=1e-5)
    assert float(found) == pytest.approx(0.6 * 4 * kl + 0.4 * hard, rel=1e-4)


def measure(student: Decoder, loss: DistillationLoss, *given: Any) -> Callable[..., tuple[float, np.ndarray]]:
    """From a batch to the student's loss and its slopes in one array, with what else the loss is given."""
    graph, params = nnx.split(student, nnx.Param)

    @jax.jit
    def compute(params: Any, batch: Any) -> Any:
        return jax.value_and_grad(lambda params: loss(nnx.merge(graph, params), batch, *given)[0])(params)

    def measured(batch: dict[str, jax.Array]) -> tuple[float, np.ndarray]:
        value, slopes = compute(params, batch)
        return float(value), np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(slopes)])

    return measured


def test_a_teacher_in_the_batch_is_the_teacher_online(small_decoder: Decoder, teacher: Decoder) -> None:
    """Same k: the same loss and slopes from float32; from float16 up to its rounding. k = V is the whole distribution."""
    batch, teacher = packed(), sharpened(teacher)
    graph, weights = nnx.split(teacher)
    whole, whole_slopes = measure(small_decoder, DistillationLoss(NextTokenLoss(), 1.5, 1.0, graph), weights)(
        batch
    )
    stored = measure(small_decoder, DistillationLoss(NextTokenLoss(), 1.5, 1.0))
    for k in (5, 64):
        online, slopes = measure(
            small_decoder, DistillationLoss(NextTokenLoss(), 1.5, 1.0, graph, k), weights
        )(batch)
        top = top_log_probs(teacher, teacher_states(teacher, batch), k, 1.5, chunk_tokens=8)
        for dtype, error in ((jnp.float32, 1e-5), (jnp.float16, 2e-3)):
            log_probs = top.log_probs.astype(dtype).astype(jnp.float32)
            value, stored_slopes = stored(batch | {"teacher_log_probs": log_probs, "teacher_ids": top.ids})
            assert value == pytest.approx(online, rel=error)
            assert np.linalg.norm(stored_slopes - slopes) <= error * np.linalg.norm(slopes)
        if k < 64:
            assert online < 0.99 * whole
    assert online == pytest.approx(whole, rel=1e-5)
    np.testing.assert_allclose(slopes, whole_slopes, atol=1e-5)


def test_what_is_stored_is_the_sorted_top_of_the_softmax(teacher: Decoder) -> None:
    """Probabilities of the k + 1 classes sum to one, those of the tokens fall, and the last is of all others."""
    batch, teacher = packed(), sharpened(teacher)
    states = teacher_states(teacher, batch)
    top = top_log_probs(teacher, states, 6, 1.0, chunk_tokens=10)
    theirs = np.asarray(jax.nn.log_softmax(teacher.unembed(states)))
    np.testing.assert_array_equal(top.ids, np.argsort(-theirs, axis=-1, kind="stable")[..., :6])
    np.testing.assert_allclose(top.log_probs, classes(theirs, np.asarray(top.ids)), rtol=1e-4)


def test_its_own_teacher_teaches_nothing(small_decoder: Decoder) -> None:
    """A student that is its teacher has no loss and no gradient, whole or by k tokens; the tokens' loss has one."""
    student = sharpened(small_decoder)
    batch = {name: rows for name, rows in packed().items() if name != "rope_base"}
    graph, weights = nnx.split(student)
    _, hard = measure(student, DistillationLoss(NextTokenLoss(), 2.0, 0.0, graph), weights)(batch)
    for k in (None, 4):
        value, slopes = measure(student, DistillationLoss(NextTokenLoss(), 2.0, 1.0, graph, k), weights)(
            batch
        )
        assert abs(value) < 1e-5
        assert np.abs(slopes).max() < 1e-5 * np.abs(hard).max()
    assert np.abs(hard).max() > 1e-3


def test_weight_0_is_pretraining(small_decoder: Decoder, teacher: Decoder) -> None:
    """Without weight on the divergence the loss is that of the tokens, its z-loss included."""
    graph, weights = nnx.split(teacher)
    plain = NextTokenLoss(z_loss=0.01)
    expected, _ = plain(small_decoder, packed())
    found, _ = DistillationLoss(plain, 1.0, 0.0, graph)(small_decoder, packed(), weights)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
