"""The model thread: order, limits, cancellation, failure and shutdown, with a batch that only counts."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from millrace.model.answers.continuous_batch import Admitted, Sampling, Token
from millrace.pipelines.serve.engine import Ended, Engine, Scored, Stopped, Ticket
from millrace.pipelines.serve.fair_queue import QueueFull


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

    def admit(self, prompt: Sequence[int], sampling: Sampling, *, scored: bool = False) -> Admitted:
        if prompt[0] == 666:
            raise RuntimeError("no memory")
        row = next(row for row in range(self.rows) if row not in self.values)
        self.values[row] = prompt[0] + 1
        self.admitted.append(prompt[0])
        scores = tuple(Token(token, -1.0) for token in prompt[1:]) if scored else ()
        return Admitted(row, Token(prompt[0] + 1, 0.0), scores)

    def step(self) -> dict[int, Token]:
        self.gate.wait(5)
        self.values = {row: value + 1 for row, value in self.values.items()}
        return {row: Token(value, 0.0) for row, value in self.values.items()}

    def release(self, row: int) -> None:
        del self.values[row]


class Asked:
    """A ticket and what it was given."""

    def __init__(self, prompt: list[int], max_tokens: int = 3, stop: int = -1, **ticket: Any) -> None:
        self.events: queue.Queue[Any] = queue.Queue()
        self.ticket = Ticket(prompt, Sampling(), max_tokens, frozenset([stop]), self.events.put, **ticket)

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
    assert asked[1].result() == ([21], Ended("stop", token=Token(22, 0.0)))
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
    for one in busy:
        engine.submit([one.ticket])
    assert busy[1].events.get(timeout=5).token == 3  # both rows are taken
    waiting = [Asked([n]) for n in (3, 4, 5)]
    for one in waiting:
        engine.submit([one.ticket])
    with pytest.raises(QueueFull):
        engine.submit([Asked([6]).ticket, Asked([7]).ticket])
    assert engine.load == (2, 3)
    for one in (*busy, waiting[0]):
        one.ticket.cancel()
    batch.gate.set()
    assert waiting[1].result()[0] == [5, 6, 7]
    assert 3 not in batch.admitted
    assert 6 not in batch.admitted


def test_a_large_request_lets_others_pass(engine: Engine, batch: CountingBatch) -> None:
    """Answers are handed out in turns of the requests, though ten of one were there first."""
    batch.gate.clear()
    large = [Asked([100 + n], 2) for n in range(10)]
    engine.submit([one.ticket for one in large])
    assert large[1].events.get(timeout=5).token == 102  # two of them have the rows
    small = Asked([200], 2, client="other")
    engine.submit([small.ticket])
    batch.gate.set()
    assert small.result()[0] == [201, 202]
    assert [one.result()[1] for one in large] == [Ended("length")] * 10
    assert batch.admitted.index(200) <= 3


@pytest.mark.parametrize("max_tokens", [0, 2])
def test_a_prompt_is_scored_before_it_is_answered(engine: Engine, max_tokens: int) -> None:
    """With no tokens to add, that is all."""
    asked = Asked([10, 11, 12], max_tokens, stop=11, scored=True)
    engine.submit([asked.ticket])
    assert asked.events.get(timeout=5) == Scored((Token(11, -1.0), Token(12, -1.0)))
    assert asked.events.get(timeout=5).reason == ("stop" if max_tokens else "length")
    assert engine.load == (0, 0)


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
