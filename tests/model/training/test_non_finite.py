"""Steps that are not finite are found in either curve, named by what is wrong, and left out whole."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from millrace.model.training.non_finite import bad_steps, choose, error_of

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
