"""The model thread: order, limits, cancellation, failure and shutdown, with a batch that only counts."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from millrace.model.answers.continuous_batch import Sampling, Token
from millrace.pipelines.serve.engine import Ended, Engine, QueueFull, Stopped, Ticket


class CountingBatch:
    """Answers every prompt [p] with p+1, p+2, ...; a prompt of 666 fails; steps wait for the gate."""

    capacity_tokens = 50

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.gate = threading.Event()
        self.gate.set()
        self.admitted: list[int] = []
        self.reset()

    def reset(self) -> None:
        self.values: dict[int, int] = {}

    @property
    def free_rows(self) -> int:
        return self.rows - len(self.values)

    def admit(self, prompt: Sequence[int], sampling: Sampling) -> tuple[int, Token]:
        if prompt[0] == 666:
            raise RuntimeError("no memory")
        row = next(row for row in range(self.rows) if row not in self.values)
        self.values[row] = prompt[0] + 1
        self.admitted.append(prompt[0])
        return row, Token(prompt[0] + 1, 0.0)

    def step(self) -> dict[int, Token]:
        self.gate.wait(5)
        self.values = {row: value + 1 for row, value in self.values.items()}
        return {row: Token(value, 0.0) for row, value in self.values.items()}

    def release(self, row: int) -> None:
        del self.values[row]


class Asked:
    """A ticket and what it was given."""

    def __init__(self, prompt: list[int], max_tokens: int = 3, stop: int = -1) -> None:
        self.events: queue.Queue[Any] = queue.Queue()
        self.ticket = Ticket(prompt, Sampling(), max_tokens, frozenset([stop]), self.events.put)

    def result(self) -> tuple[list[int], Ended]:
        tokens = []
        while not isinstance(event := self.events.get(timeout=5), Ended):
            tokens.append(event.token)
        return tokens, event


@pytest.fixture
def batch() -> CountingBatch:
    """Two rows."""
    return CountingBatch(2)


@pytest.fixture
def engine(batch: CountingBatch) -> Iterator[Engine]:
    """A started engine with room for three to wait."""
    engine = Engine(batch, max_waiting=3)  # type: ignore[arg-type]
    engine.start()
    yield engine
    batch.gate.set()
    engine.stop()


def test_answers_end_at_their_limit_their_stop_token_or_the_context(engine: Engine) -> None:
    """The three ways to end; the stop token is not handed over."""
    asked = [Asked([10]), Asked([20], stop=22, max_tokens=9), Asked([30] * 48, max_tokens=9)]
    engine.submit([one.ticket for one in asked])
    assert asked[0].result() == ([11, 12, 13], Ended("length"))
    assert asked[1].result() == ([21], Ended("stop"))
    assert asked[2].result() == ([31, 32], Ended("length"))


def test_requests_are_admitted_in_order_and_advance_together(engine: Engine, batch: CountingBatch) -> None:
    """A short answer behind two long ones gets the first row that is free."""
    asked = [Asked([100], 40), Asked([200], 2), Asked([300], 2)]
    batch.gate.clear()
    engine.submit([one.ticket for one in asked])
    batch.gate.set()
    assert asked[2].result()[0] == [301, 302]
    assert batch.admitted == [100, 200, 300]
    assert len(asked[0].result()[0]) == 40


def test_a_full_queue_refuses_and_a_cancelled_ticket_frees_its_row(
    engine: Engine, batch: CountingBatch
) -> None:
    """Nothing of a refused request is queued; cancelled ones cost no token."""
    batch.gate.clear()
    busy = [Asked([1], 40), Asked([2], 40)]
    engine.submit([one.ticket for one in busy])
    assert busy[1].events.get(timeout=5).token == 3  # both rows are taken
    waiting = [Asked([3]), Asked([4])]
    engine.submit([one.ticket for one in waiting])
    with pytest.raises(QueueFull):
        engine.submit([Asked([5]).ticket, Asked([6]).ticket])
    for one in (*busy, waiting[0]):
        one.ticket.cancel()
    batch.gate.set()
    assert waiting[1].result()[0] == [5, 6, 7]
    assert 3 not in batch.admitted


def test_a_request_for_more_answers_than_may_wait_is_served_when_nothing_waits(engine: Engine) -> None:
    """Five choices where three may wait: refused, the request could never be served."""
    asked = [Asked([n]) for n in (10, 20, 30, 40, 50)]
    engine.submit([one.ticket for one in asked])
    assert [one.result()[0][0] for one in asked] == [11, 21, 31, 41, 51]


def test_the_queue_is_full_at_its_limit_and_not_before(engine: Engine, batch: CountingBatch) -> None:
    batch.gate.clear()
    busy = [Asked([1], 40), Asked([2], 40)]
    engine.submit([one.ticket for one in busy])
    assert busy[1].events.get(timeout=5).token == 3  # both rows are taken
    for count in (1, 2):
        engine.submit([Asked([9]).ticket for _ in range(count)])
    with pytest.raises(QueueFull):
        engine.submit([Asked([9]).ticket])


def test_a_failure_ends_the_answers_it_hit_and_the_next_ones_work(engine: Engine) -> None:
    """The thread survives, and nobody waits for ever."""
    bad = Asked([666])
    engine.submit([bad.ticket])
    assert bad.result()[1].reason == "error"
    good = Asked([1])
    engine.submit([good.ticket])
    assert good.result() == ([2, 3, 4], Ended("length"))


def test_stopping_ends_every_answer(engine: Engine, batch: CountingBatch) -> None:
    """Running and waiting requests are told, later ones are refused."""
    batch.gate.clear()
    asked = [Asked([n], 40) for n in (1, 2, 3)]
    engine.submit([one.ticket for one in asked])
    threading.Timer(0.05, batch.gate.set).start()
    engine.stop()
    assert [one.result()[1].reason for one in asked] == ["error"] * 3
    with pytest.raises(Stopped):
        engine.submit([Asked([4]).ticket])
