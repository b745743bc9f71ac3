"""Digests name the first step that differs, whatever the blocks they are kept in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components.training import digests
from millrace.model.training.loop import History

STEPS = st.integers(1, 40)


def training(total_steps: int, every_steps: int) -> History:
    draw = np.random.default_rng(total_steps)
    curves = {
        name: draw.standard_normal(total_steps).astype(np.float32) for name in ("loss", "gradient_norm")
    }
    words = draw.integers(0, 2**32, (-(-total_steps // every_steps), 2), dtype=np.uint32)
    return History(curves, [], {}, checksums=words)


def batch_of(step: int) -> dict[str, np.ndarray]:
    return {"tokens": np.full((2, 3), step, np.int32)}


@given(total_steps=STEPS, every_steps=STEPS, data=st.data())
def test_the_first_changed_step_of_a_range_is_found(
    total_steps: int, every_steps: int, data: st.DataObject
) -> None:
    """Against looking at each step: a bit of one step's loss, norm or parameters is another one."""
    recorded = digests.records(training(total_steps, every_steps), batch_of, every_steps)
    assert [int(block["step"]) for block in recorded] == digests.last_steps(total_steps, every_steps)
    end = data.draw(st.integers(1, total_steps), "end")
    first = data.draw(st.integers(0, end - 1), "first")
    wrong = data.draw(st.integers(0, total_steps - 1), "wrong")
    name = data.draw(st.sampled_from(["loss", "gradient_norm", "parameters"]), "name")

    again = training(total_steps, every_steps)
    if name == "parameters":
        assert again.checksums is not None
        again.checksums[wrong // every_steps] ^= 1
        wrong = min(wrong // every_steps * every_steps + every_steps, total_steps) - 1
    else:
        again.curves[name].view(np.uint32)[wrong] ^= 1
    replayed = digests.records(again, batch_of, every_steps, end)
    found = digests.first_difference(recorded, replayed, first, end)
    if first <= wrong < end:
        assert found is not None
        assert (found.step, found.fields) == (wrong, (name,))
        compared = [step for step in digests.last_steps(total_steps, every_steps) if first <= step < wrong]
        assert found.parameters_equal_after_step == (compared[-1] if compared else None)
    else:
        assert found is None


def test_another_batch_is_named() -> None:
    """A replay reports changed data, and at the digests' steps only."""
    recorded = digests.records(training(9, 4), batch_of, 4)
    replayed = digests.records(training(9, 4), lambda step: batch_of(step + (step == 7)), 4)
    found = digests.first_difference(recorded, replayed, 0, 9)
    assert found is not None
    assert (found.step, found.fields, found.parameters_equal_after_step) == (7, ("batch",), 3)


def test_blocks_of_other_steps_are_refused() -> None:
    """Two digests of unlike periods."""
    one, other = (digests.records(training(9, every), batch_of, every) for every in (4, 3))
    with pytest.raises(ValueError, match="got a block of steps 0 to 2, expected 0 to 3"):
        digests.first_difference(one, other, 0, 9)
