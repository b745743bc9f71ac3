"""Words of memory that threads share: none of their changes is lost, and what was written before them shows."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from millrace.data.text import atomics
from millrace.data.text.kernels import kernel

ENTRY = np.dtype([("state", np.uint32), ("value", np.int64)], align=True)


@kernel
def _count(counts: Any, owners: Any, rounds: int, me: int) -> None:
    for _ in range(rounds):
        owners[atomics.reserve(counts, 1, 1)] = me


@kernel
def _take(entries: Any, wins: Any, me: int) -> None:
    for slot in range(entries.size):
        atomics.fetch(entries, slot)
        if atomics.exchange_state(entries, slot, 0, 1):
            entries[slot].value = me
            wins[me] += 1
            atomics.show(entries, slot, 2)


@kernel
def _states(entries: Any, out: Any) -> None:
    for slot in range(entries.size):
        out[slot] = atomics.state_of(entries, slot)


def together(work: Any, threads: int) -> None:
    """Calls a function with each of some numbers at once."""
    started = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def test_places_that_threads_reserve_are_their_own() -> None:
    """No two get the same one, and none is left out."""
    counts, owners = np.zeros(2, np.int64), np.full(400_000, -1, np.int64)
    together(lambda me: _count(counts, owners, 100_000, me), 4)
    assert counts.tolist() == [0, 400_000]
    assert np.bincount(owners).tolist() == [100_000] * 4


def test_one_thread_wins_each_entry() -> None:
    """And the winner's value stands there when the state says so."""
    entries, wins = np.zeros(100_000, ENTRY), np.zeros(4, np.int64)
    together(lambda me: _take(entries, wins, me), 4)
    states = np.empty(entries.size, np.uint32)
    _states(entries, states)
    assert (states == 2).all()
    assert np.bincount(entries["value"], minlength=4).tolist() == wins.tolist()
