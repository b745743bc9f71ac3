"""The stores of a training as one: the newest state wins, the first store among equals, and the clock stays outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from millrace.model.states.store import Moment
from millrace.model.training.goodput import Goodput
from millrace.model.training.saving import Saving
from millrace.model.training.state import Saved, TrainState


class Shelf:
    """A store in memory of this process."""

    loses = "saving"

    def __init__(self, every_steps: int, *, same_bytes: bool = False) -> None:
        self.same_bytes, self.every_steps = same_bytes, every_steps
        self.states: dict[int, Saved] = {}
        self.laid_out = self.waits = 0

    def lay_out(self, template: Any) -> None:
        self.laid_out += 1

    def newest(self) -> int | None:
        return max(self.states, default=None)

    def restore(self, step: int, template: Any) -> Saved:
        return self.states[step]

    def due(self, moment: Moment) -> bool:
        return moment.done % self.every_steps == 0

    def save(self, step: int, state: Any) -> None:
        self.states[step] = state

    def wait(self) -> None:
        self.waits += 1


def state(step: int) -> Saved:
    train = TrainState({}, (), np.int32(step), {})  # type: ignore[arg-type]
    return Saved(train, {}, np.asarray(float(step)), {})


@pytest.mark.parametrize(
    ("first", "second", "taken"), [([], [], None), ([3], [2], 0), ([3], [4], 1), ([3], [3], 0), ([], [1], 1)]
)
def test_the_newest_state_is_taken(first: list[int], second: list[int], taken: int | None) -> None:
    shelves = [Shelf(1), Shelf(1)]
    for shelf, steps in zip(shelves, (first, second), strict=True):
        shelf.states = {step: state(step) for step in steps}
    found = Saving(shelves, Goodput()).newest(state(0))
    assert [shelf.laid_out for shelf in shelves] == [1, 1]
    if taken is None:
        assert found is None
    else:
        assert found is not None
        assert found[1] is shelves[taken].states[found[0]]


def test_each_store_is_given_what_is_due_and_published_ones_no_wall_time() -> None:
    """A training that is asked to end waits until its state is on disk."""
    often, published = Shelf(2), Shelf(4, same_bytes=True)
    saving = Saving([often, published], Goodput())
    for done in range(1, 9):
        moment = Moment(0, done, 9, 9, stopping=done == 8)
        saving.save(saving.due(moment), moment, state(done))
    assert sorted(often.states) == [2, 4, 6, 8]
    assert {step: float(kept.useful_seconds) for step, kept in published.states.items()} == {4: 0.0, 8: 0.0}
    assert (often.waits, published.waits) == (1, 1)
