"""The sampler against brute force: exact counts, one epoch a permutation, and an inverse that misses nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.training.mixture import Mixture, Phase, Split

WEIGHTS = st.dictionaries(st.sampled_from("abcdefg"), st.floats(1e-3, 1.0), min_size=1)


@settings(deadline=None)
@given(WEIGHTS)
def test_split_gives_exact_shares(weights: dict[str, float]) -> None:
    """After any number of sequences each source has its share within two, and the counts are those of the draws."""
    split = Split(weights)
    owners, draws = split.assign(np.arange(500))
    for index, name in enumerate(split.sources):
        mine = owners == index
        assert np.array_equal(draws[mine], np.arange(mine.sum()))
        counts = np.concatenate([[0], np.cumsum(mine)])
        assert [split.count(name, n) for n in range(0, 501, 50)] == counts[::50].tolist()
        assert np.abs(counts - np.arange(501) * weights[name] / sum(weights.values())).max() < 2
        assert np.array_equal(split.number_of(name, draws[mine]), np.flatnonzero(mine))


def test_split_is_exact_over_billions_of_sequences() -> None:
    """Numbers near 2**33 neither overflow nor lose the inverse."""
    split = Split({"a": 0.7, "b": 0.2, "c": 0.1})
    numbers = 2**33 - 1 - np.arange(1_000)
    owners, draws = split.assign(numbers)
    for index, name in enumerate(split.sources):
        assert np.array_equal(split.number_of(name, draws[owners == index]), numbers[owners == index])
        assert split.count(name, 2**33) == pytest.approx(2**33 * [0.7, 0.2, 0.1][index], abs=20)


MIXTURES = st.builds(
    lambda seed, batch, shapes, weights, tokens: Mixture(
        seed,
        batch,
        [Phase(300 * (i + 1), length, weights[i % 2], rows) for i, (length, rows) in enumerate(shapes)],
        dict(zip("abc", tokens, strict=True)),
    ),
    st.integers(0, 2**31),
    st.integers(1, 7),
    st.lists(st.tuples(st.integers(1, 9), st.one_of(st.none(), st.integers(1, 7))), min_size=1, max_size=3),
    st.tuples(*[st.dictionaries(st.sampled_from("abc"), st.floats(0.01, 1), min_size=1)] * 2),
    st.tuples(*[st.integers(10, 150)] * 3),
)


@settings(max_examples=60, deadline=None)
@given(MIXTURES, st.sampled_from("abc"), st.integers(0, 150), st.integers(0, 30))
def test_steps_of_equals_brute_force(mixture: Mixture, source: str, start: int, length: int) -> None:
    """Going back from a span finds exactly the rows whose windows touch it."""
    expected = [
        (step, row)
        for step in range(mixture.total_steps)
        for row, (name, first, size) in enumerate(mixture.locate(step))
        if name == source and first < start + length and start < first + size and length > 0
    ]
    assert mixture.steps_of(source, start, length) == expected


def test_a_token_that_one_epoch_leaves_over_is_found_in_the_others() -> None:
    """Two windows of eight of 23 tokens, shifted anew in each epoch: every token is left over now and then."""
    mixture = Mixture(5, 2, [Phase(400, 8, {"a": 1.0}, None)], {"a": 23})
    read = [
        (step, row, first)
        for step in range(mixture.total_steps)
        for row, (_, first, _) in enumerate(mixture.locate(step))
    ]
    for token in range(23):
        expected = [(step, row) for step, row, first in read if first <= token < first + 9]
        assert mixture.steps_of("a", token, 1) == expected
    assert len({step for step, _ in mixture.steps_of("a", 0, 1)}) < mixture.total_steps


@settings(max_examples=60, deadline=None)
@given(MIXTURES)
def test_windows_lie_inside_their_source(mixture: Mixture) -> None:
    """Every row is a whole window of tokens that exist."""
    for step in range(mixture.total_steps):
        rows = mixture.locate(step)
        length = mixture.phases[mixture.phase_of(step)].sequence_length_tokens
        assert len(rows) * length == mixture.step_tokens[mixture.phase_of(step)]
        for name, start, size in rows:
            assert size == length + 1
            assert 0 <= start <= mixture._tokens[name] - size


@settings(max_examples=60, deadline=None)
@given(MIXTURES)
def test_every_block_of_steps_holds_the_exact_shares(mixture: Mixture) -> None:
    """From a phase's start to any of its steps each source has its share of the rows within two, whatever B."""
    first = 0
    for phase, end in zip(mixture.phases, mixture.ends, strict=True):
        counts, rows = Counter[str](), 0
        for step in range(first, end):
            names = [name for name, _, _ in mixture.locate(step)]
            counts.update(names)
            rows += len(names)
            for name, weight in phase.weights.items():
                assert abs(counts[name] - rows * weight / sum(phase.weights.values())) < 2
        first = end
    assert first == mixture.total_steps


@settings(max_examples=60, deadline=None)
@given(MIXTURES)
def test_every_row_leads_back_to_its_step(mixture: Mixture) -> None:
    """The inverse of a row's own span names that row."""
    for step in range(0, mixture.total_steps, 5):
        for row, span in enumerate(mixture.locate(step)):
            assert (step, row) in mixture.steps_of(*span)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=4), st.integers(0, 2**31))
def test_an_epoch_stays_a_permutation_when_the_batch_grows(sizes: list[int], seed: int) -> None:
    """Phases of one length go on where the last one stopped, so every 25 draws are all 25 windows."""
    phases = [Phase(300 * (i + 1), 4, {"a": 1}, rows) for i, rows in enumerate(sizes)]
    mixture = Mixture(seed, 1, phases, {"a": 101})
    draws: list[int] = []
    for step in range(mixture.total_steps):
        # Rows are in a permuted order; draws are counted across the borders of batches.
        spans = mixture.locate(step)
        order = mixture._row_order(mixture._plans[mixture.phase_of(step)], step)
        draws += [start for _, (_, start, _) in sorted(zip(order.tolist(), spans, strict=True))]
    assert len(draws) >= 150
    for epoch in range(len(draws) // 25):
        assert sorted(draws[epoch * 25 : (epoch + 1) * 25]) == list(range(0, 100, 4))


def test_an_epoch_reads_every_window_once_and_phases_go_on() -> None:
    """Over two phases of one length the windows of a source come once each before any comes again."""
    phases = [Phase(200, 4, {"a": 1, "b": 3}), Phase(800, 4, {"a": 1})]
    mixture = Mixture(3, 1, phases, {"a": 103, "b": 999})
    starts = [s for step in range(mixture.total_steps) for name, s, _ in mixture.locate(step) if name == "a"]
    windows, epochs = 25, len(starts) // 25
    assert epochs > 2
    for epoch in range(epochs):
        read = sorted(starts[epoch * windows : (epoch + 1) * windows])
        assert read[0] < 3
        assert set(np.diff(read)) == {4}
    assert starts[:windows] != starts[windows : 2 * windows]
    assert mixture.epochs()["a"] == pytest.approx(len(starts) / windows)


def test_batches_hold_exact_counts() -> None:
    """Shares that divide the batch give the same counts in every step; others differ by at most one."""
    mixture = Mixture(0, 8, [Phase(8 * 16 * 50, 16, {"a": 2, "b": 1, "c": 1})], dict.fromkeys("abc", 10_000))
    for step in range(mixture.total_steps):
        assert Counter(name for name, _, _ in mixture.locate(step)) == {"a": 4, "b": 2, "c": 2}
    uneven = Mixture(0, 8, [Phase(8 * 16 * 50, 16, {"a": 0.7, "b": 0.3})], dict.fromkeys("ab", 10_000))
    assert {Counter(n for n, _, _ in uneven.locate(step))["b"] for step in range(50)} == {2, 3}


def test_the_order_depends_on_nothing_but_seed_and_step() -> None:
    """Other sources, the order of calls and of dictionaries do not matter; seed and step do."""
    phases = [Phase(6_400, 16, {"a": 1, "b": 1})]
    one = Mixture(1, 8, phases, {"a": 5_000, "b": 900})
    two = Mixture(1, 8, phases, {"other": 7, "b": 900, "a": 5_000})
    assert [two.locate(step) for step in reversed(range(50))][::-1] == [
        one.locate(step) for step in range(50)
    ]
    assert one.locate(0) != one.locate(1)
    assert one.locate(0) != Mixture(2, 8, phases, {"a": 5_000, "b": 900}).locate(0)


def test_a_source_without_weight_may_be_short_and_is_not_read() -> None:
    mixture = Mixture(0, 4, [Phase(100, 8, {"a": 1, "b": 0})], {"a": 100, "b": 3})
    assert mixture.epochs().keys() == {"a"}


def test_the_order_is_that_of_earlier_versions() -> None:
    """A run goes on with the tokens that it would have read, and recorded steps still lead to their tokens."""
    phases = [Phase(96, 8, {"a": 2, "b": 1}), Phase(160, 16, {"b": 1})]
    mixture = Mixture(5, 4, phases, {"a": 40, "b": 90})
    assert [mixture.locate(step) for step in range(mixture.total_steps)] == [
        [("a", 6, 9), ("a", 30, 9), ("b", 48, 9), ("a", 14, 9)],
        [("a", 22, 9), ("a", 20, 9), ("b", 64, 9), ("b", 24, 9)],
        [("a", 12, 9), ("b", 16, 9), ("a", 4, 9), ("a", 28, 9)],
        [("b", 51, 17), ("b", 19, 17), ("b", 35, 17), ("b", 67, 17)],
    ]


def test_phases_end_at_the_step_that_reaches_their_tokens() -> None:
    """Rounding up in one phase shortens the next, so the total stays within one step."""
    mixture = Mixture(0, 4, [Phase(1_000, 16, {"a": 1}), Phase(2_000, 32, {"a": 1})], {"a": 100})
    assert [mixture.phase_of(step) for step in (0, 15, 16, mixture.total_steps - 1)] == [0, 0, 1, 1]
    assert mixture.total_steps == 16 + 8
    assert mixture.total_tokens == 16 * 64 + 8 * 128


def test_a_phase_may_have_its_own_batch_size() -> None:
    """Steps are counted in its rows, and a phase without one takes the mixture's."""
    mixture = Mixture(0, 4, [Phase(1_024, 16, {"a": 1}), Phase(2_048, 16, {"a": 1}, 8)], {"a": 100})
    assert mixture.ends == (16, 16 + 8)
    assert mixture.step_tokens == (64, 128)
    assert [len(mixture.locate(step)) for step in (15, 16)] == [4, 8]


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([Phase(100, 8, {"x": 1})], "'x'.*expected one of a, b, c"),
        ([Phase(100, 8, {"b": 1})], "8 tokens of 'b'"),
        ([Phase(100, 8, {"c": 1})], "5 tokens of 'c'"),
        ([Phase(100, 0, {"a": 1})], "phase 0 with sequences of 0 tokens"),
        ([Phase(100, 8, {"a": 0})], "weights"),
        ([Phase(100, 8, {"a": 1, "b": -1})], "some above 0, none below"),
        ([Phase(100, 8, {"a": 1}), Phase(90, 8, {"a": 1})], "phase 1 until 90"),
        ([], "0 phases"),
        ([Phase(100, 8, {"a": 1}, 0)], "batch sizes .0. of 1 phases"),
    ],
)
def test_impossible_phases_are_refused(phases: list[Phase], message: str) -> None:
    """A mixture that cannot be sampled raises an error that names the fault."""
    with pytest.raises(ValueError, match=message):
        Mixture(0, 4, phases, {"a": 100, "b": 8, "c": 5})
