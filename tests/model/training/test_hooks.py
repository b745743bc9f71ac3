"""Hooks happen at the steps that they say, whatever the step at which a training was begun or ends."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from millrace.model.states.store import Moment
from millrace.model.training.hooks import Digests, Evaluation, Hook, Log

EVERY, TOTAL = st.integers(1, 9), st.integers(1, 30)


def happens(hook: Hook, start: int, end: int, total_steps: int) -> Iterator[int]:
    """The steps of a training from ``start`` to ``end`` at which a hook is due."""
    return (done for done in range(start, end + 1) if hook.due(Moment(start, done, end, total_steps)))


@given(EVERY, TOTAL, st.data())
def test_a_log_is_due_at_multiples_and_at_the_end(every: int, total_steps: int, data: st.DataObject) -> None:
    """Not where the training was begun, which the process before has told."""
    start, end = sorted(data.draw(st.integers(0, total_steps)) for _ in range(2))
    wanted = {step for step in range(start + 1, end + 1) if step in (end, step // every * every)}
    assert set(happens(Log(every), start, end, total_steps)) == wanted


@given(EVERY, TOTAL, st.data())
def test_two_processes_measure_and_digest_what_one_does(
    every: int, total_steps: int, data: st.DataObject
) -> None:
    """A training that is cut anywhere has the measurements and checksums of the whole one, each once."""
    cut = data.draw(st.integers(0, total_steps))
    evaluation, digests = Evaluation(["loss"], lambda module: [0.0], every), Digests(every)
    for hook in (evaluation, digests):
        parts = {*happens(hook, 0, cut, total_steps), *happens(hook, cut, total_steps, total_steps)}
        assert parts == set(happens(hook, 0, total_steps, total_steps))
    assert list(happens(evaluation, 0, total_steps, total_steps)) == evaluation.steps(total_steps)
    assert len(set(happens(digests, 0, total_steps, total_steps))) == -(-total_steps // every)


def test_a_training_that_is_to_end_leaves_a_measurement_to_the_next() -> None:
    evaluation = Evaluation(["loss"], lambda module: [0.0], 5)
    assert evaluation.due(Moment(0, 5, 20, 20))
    assert not evaluation.due(Moment(0, 5, 20, 20, stopping=True))
