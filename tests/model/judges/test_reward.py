"""The reward model against closed forms and a reward that is planted."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from millrace.model.judges import reward
from millrace.model.network import decoder
from millrace.model.network.config import ModelConfig

CONFIG = ModelConfig(
    vocab_size=24,
    layers=1,
    model_size=32,
    heads=2,
    kv_heads=1,
    head_size=16,
    feed_forward_size=48,
    max_sequence_tokens=32,
)


def new_model(heads: int = 2, seed: int = 0) -> reward.RewardModel:
    """A reward model with random trunk and random heads."""
    model = reward.RewardModel(decoder.create(CONFIG, seed), heads)
    model.kernel[...] = jax.random.normal(jax.random.key(seed + 1), model.kernel.shape)
    return model


def test_gradient_is_the_closed_form() -> None:
    """d loss / d chosen is -(1 - sigmoid(difference)) / B, and the opposite for the other side."""
    chosen, rejected = np.random.default_rng(0).normal(size=(2, 7)).astype(np.float32)
    got = jax.grad(reward.bradley_terry_loss, argnums=(0, 1))(chosen, rejected)
    want = -(1 - 1 / (1 + np.exp(-(chosen - rejected)))) / 7
    np.testing.assert_allclose(got[0], want, rtol=1e-5)
    np.testing.assert_allclose(got[1], -want, rtol=1e-5)


def test_an_untrained_pair_is_a_fair_coin() -> None:
    """With the heads as initialised the loss is ln 2."""
    model = reward.RewardModel(decoder.create(CONFIG, 0), 2)
    batch = {"tokens": jnp.ones((6, 8), jnp.int32), "lengths": jnp.full(6, 8), "head": jnp.asarray([0, 1, 0])}
    assert float(nnx.jit(reward.pair_loss)(model, batch)) == pytest.approx(np.log(2), abs=1e-6)


def test_a_pair_trains_its_own_head_only() -> None:
    """The other head's column gets no gradient."""
    tokens = jnp.asarray(np.random.default_rng(1).integers(0, 24, (4, 8)), jnp.int32)
    batch = {"tokens": tokens, "lengths": jnp.full(4, 8), "head": jnp.asarray([1, 1])}
    gradient = nnx.jit(nnx.grad(reward.pair_loss))(new_model(), batch)
    assert not np.any(gradient.kernel[...][:, 0])
    assert np.any(gradient.kernel[...][:, 1])


def test_scores_do_not_depend_on_company_or_padding() -> None:
    """An exchange scored alone scores as in a mixed batch, and only its last tokens count beyond the limit."""
    rng = np.random.default_rng(2)
    sequences = [rng.integers(0, 24, size).tolist() for size in (3, 31, 12, 40, 7)]
    model = new_model()
    together = reward.raw_scores(model, sequences)
    alone = np.concatenate([reward.raw_scores(model, [s]) for s in sequences])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_array_equal(reward.raw_scores(model, [sequences[3][-32:]]), alone[3:4])


def test_recovers_a_planted_linear_reward() -> None:
    """Trained on pairs ordered by a hidden linear reward of the tokens, it ranks held-out ones the same way."""
    rng = np.random.default_rng(3)
    worth = rng.normal(size=(2, 24))  # one hidden value per token and head
    tokens = rng.integers(0, 24, (12_400, 2, 8))
    head = rng.integers(0, 2, 12_400)
    planted = worth[head[:, None, None], tokens].mean(axis=2)
    ordered = np.take_along_axis(tokens, np.argsort(-planted, axis=1)[:, :, None], axis=1)
    model = reward.RewardModel(decoder.create(CONFIG, 0), 2)
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)

    def batch_of(rows: np.ndarray) -> dict[str, jax.Array]:
        sides = np.concatenate([ordered[rows, 0], ordered[rows, 1]])
        return {
            "tokens": jnp.asarray(sides, jnp.int32),
            "lengths": jnp.full(len(sides), 8),
            "head": jnp.asarray(head[rows]),
        }

    @nnx.jit
    def step(model: reward.RewardModel, optimizer: nnx.Optimizer, batch: dict) -> None:
        optimizer.update(model, nnx.grad(reward.pair_loss)(model, batch))

    with jax.numpy_dtype_promotion("standard"):  # Optax raises floats to integer powers
        for start in range(0, 12_000, 40):
            step(model, optimizer, batch_of(np.arange(start, start + 40)))
    held_out = np.arange(12_000, 12_400)
    chosen, rejected = reward.pair_scores(model, batch_of(held_out))
    assert np.mean(chosen > rejected) > 0.9
    scores = reward.raw_scores(model, ordered[held_out, 0].tolist())
    for index in (0, 1):
        truth = worth[index][ordered[held_out, 0]].mean(axis=1)
        assert np.corrcoef(truth, scores[:, index])[0, 1] > 0.9


def test_weights_mean_say_not_scale() -> None:
    """A head whose raw scores are a hundred times larger has no more say than its weight gives it."""
    scores = np.random.default_rng(4).normal(size=(500, 2)).astype(np.float32) * [1, 100] + [0, 7]
    heads = [
        reward.Head(name, weight, float(column.mean()), float(column.std()))
        for name, weight, column in zip(("a", "b"), (2.0, 1.0), scores.T, strict=True)
    ]
    combined = reward.combine(heads, scores.astype(np.float32))
    assert np.cov(combined, scores[:, 0])[0, 1] / scores[:, 0].std() == pytest.approx(2, abs=0.2)
    assert np.cov(combined, scores[:, 1])[0, 1] / scores[:, 1].std() == pytest.approx(1, abs=0.2)


def test_a_saved_model_scores_the_same(tmp_path: Path) -> None:
    """Saving and loading keeps every score, and saving twice gives the same bytes."""
    model, heads = new_model(), (reward.Head("b", 2.0, 0.1, 3.0), reward.Head("a"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        reward.save(tmp_path / name, CONFIG, model, heads)
    config, loaded, read = reward.load(tmp_path / "one")
    assert (config, read) == (CONFIG, heads)
    np.testing.assert_array_equal(
        reward.raw_scores(loaded, [[1, 2, 3]]), reward.raw_scores(model, [[1, 2, 3]])
    )
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
