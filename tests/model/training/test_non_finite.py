"""Steps that are not finite are found in either curve, named by what is wrong, and left out whole; a guard ends a training over them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from millrace.model.training.non_finite import Guard, NonFiniteLoss, Policy, bad_steps, choose, error_of

CURVES = {
    "loss": np.asarray([1.0, np.nan, 2.0, 3.0, np.inf], np.float32),
    "gradient_norm": np.asarray([1.0, 1.0, np.inf, 3.0, 4.0], np.float32),
}


def test_bad_steps_are_those_of_both_curves() -> None:
    """Only among the steps that are done."""
    assert bad_steps(CURVES, 5).tolist() == [1, 2, 4]
    assert bad_steps(CURVES, 2).tolist() == [1]
    assert bad_steps(CURVES, 1).tolist() == []


def test_an_error_names_the_step_what_is_wrong_and_what_was_skipped() -> None:
    """The gradient's norm where the loss itself is finite."""
    assert str(error_of(1, CURVES, ())) == "the loss of step 1 is not finite"
    error = error_of(2, CURVES, (1,))
    assert str(error) == "the gradient norm of step 2 is not finite, after 1 steps that were skipped"
    assert (error.step, error.skipped_steps) == (2, (1,))


def test_a_step_is_left_out_whole() -> None:
    """Every leaf of one side or every leaf of the other."""
    new, old = ({"a": jnp.full(2, value), "b": jnp.int32(value)} for value in (1.0, 0.0))
    for applies, value in ((True, 1), (False, 0)):
        chosen = choose(jnp.asarray(applies), new, old)
        assert {float(leaf) for part in chosen.values() for leaf in jnp.ravel(part)} == {value}


def curves(*bad: int) -> dict[str, np.ndarray]:
    loss = np.zeros(10, np.float32)
    loss[list(bad)] = np.inf
    return {"loss": loss, "gradient_norm": np.zeros(10, np.float32)}


@pytest.mark.parametrize(("policy", "most", "step"), [("stop", 5, 2), ("skip", 1, 4), ("rewind", 1, 4)])
def test_what_the_policy_does_not_bear_is_named_with_what_was_skipped_before(
    policy: Policy, most: int, step: int
) -> None:
    skips = None
    if policy == "rewind":
        skips = np.zeros(10, bool)
        skips[2] = True
    with pytest.raises(NonFiniteLoss) as caught:
        Guard(policy, most, None).step_to_rewind(curves(2, 4), 9, skips)
    assert caught.value.step == step
    assert caught.value.skipped_steps == (() if policy == "stop" else (2,))


def test_a_rewind_leaves_out_one_step_after_the_other() -> None:
    """The first that is not left out yet; steps to come do not count."""
    guard, skips = Guard("rewind", 5, None), np.zeros(10, bool)
    for expected in (2, 4, None):
        step = guard.step_to_rewind(curves(2, 4, 8), 7, skips)
        assert step == expected
        if step is not None:
            skips[step] = True


def test_each_skipped_step_is_told_once() -> None:
    lines: list[str] = []
    guard = Guard("skip", 5, lines.append)
    for done in (1, 3, 6, 9):
        assert guard.step_to_rewind(curves(2, 4), done, None) is None
    assert [line.split()[1] for line in lines] == ["2", "4"]
