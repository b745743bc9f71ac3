"""Turns: of clients, then of their requests; places: few for one request, and for one client not all."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.serve.fair_queue import FairQueue, QueueFull


@dataclass
class Answer:
    """One answer that waits."""

    client: str
    request: int
    cancelled: bool = False


def asked(client: str, request: int, answers: int) -> list[Answer]:
    return [Answer(client, request) for _ in range(answers)]


def fill(queue: FairQueue[Answer], client: str, answers: int = 1) -> int:
    """How many requests a client gets in."""
    for number in count():
        try:
            queue.put(asked(client, number, answers))
        except QueueFull:
            return number
    raise AssertionError


REQUESTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=12)


@given(REQUESTS)
def test_every_answer_is_handed_out_once_and_turns_are_even(requests: list[tuple[str, int]]) -> None:
    """While two clients wait, neither gets two turns more than the other; so it is with two requests of a client."""
    queue: FairQueue[Answer] = FairQueue(10_000)
    left: dict[tuple[str, int], int] = {}
    for number, (client, answers) in enumerate(requests):
        queue.put(asked(client, number, answers))
        left[client, number] = answers
    assert len(queue) == sum(left.values())
    clients = {client: 0 for client, _ in left}
    turns = dict.fromkeys(left, 0)
    while (item := queue.take()) is not None:
        clients[item.client] += 1
        turns[item.client, item.request] += 1
        left[item.client, item.request] -= 1
        waiting = {key for key, count in left.items() if count}
        served = [clients[client] for client in {client for client, _ in waiting}]
        assert not served or max(served) - min(served) <= 1
        own = [turns[key] for key in waiting if key[0] == item.client]
        assert not own or max(own) - min(own) <= 1
    assert not any(left.values())


def test_one_request_for_many_answers_leaves_places_for_others() -> None:
    queue: FairQueue[Answer] = FairQueue(64)
    queue.put(asked("a", 0, 256))
    assert fill(queue, "a") > 30
    queue.put(asked("b", 0, 1))


def test_large_requests_are_refused_before_small_ones() -> None:
    """As many for 256 answers as get in leave places for single ones of the same client, and of others."""
    queue: FairQueue[Answer] = FairQueue(64)
    assert fill(queue, "a", 256) == 5
    assert fill(queue, "a") > 5
    assert fill(queue, "b") > 5


@given(st.integers(1, 80))
def test_a_request_always_finds_a_place_where_nobody_waits(places: int) -> None:
    queue: FairQueue[Answer] = FairQueue(places)
    queue.put(asked("a", 0, 256))
    assert len(queue) == 256


def test_a_client_that_fills_the_queue_leaves_a_share_to_others() -> None:
    """Four fifths at the most; the next client gets in, and all of them together no more than there are places."""
    queue: FairQueue[Answer] = FairQueue(50)
    counts = {}
    for client in "abcdefgh":
        counts[client] = fill(queue, client)
    assert 35 <= counts["a"] <= 42
    assert counts["b"] >= 1
    assert sum(counts.values()) == len(queue) <= 50


def test_cancelled_answers_keep_nobody_out() -> None:
    queue: FairQueue[Answer] = FairQueue(3)
    gone = [asked("a", number, 1)[0] for number in range(3)]
    for one in gone:
        queue.put([one])
    with pytest.raises(QueueFull):
        queue.put(asked("b", 0, 1))
    for one in gone:
        one.cancelled = True
    queue.put(asked("b", 0, 1))
    item = queue.take()
    assert item is not None
    assert item.client == "b"
    assert queue.take() is None


def test_clearing_returns_what_waited() -> None:
    queue: FairQueue[Answer] = FairQueue(9)
    queue.put(asked("a", 0, 2))
    queue.put(asked("b", 0, 1))
    assert [item.client for item in queue.clear()] == ["a", "a", "b"]
    assert queue.take() is None
