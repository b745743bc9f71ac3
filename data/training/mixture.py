"""The tokens that a training step reads: a pure, invertible function of (seed, phase, step).

``Mixture.locate(step)`` gives the token span of every row of a batch and ``Mixture.steps_of`` goes back from a span to
the steps that read it. Nothing is logged and nothing is drawn from a random state: resuming, replaying or changing
the number of hosts needs only the step number.

Three layers, each with a closed-form inverse:

1. Slots to sources. The sequences of a phase are numbered; ``Split`` assigns each number to a source so that after any
   number of sequences every source has its exact share, up to rounding. A batch is the phase's ``batch_size``
   consecutive numbers, its rows a keyed permutation of them. A share of 0.3 in batches of 8 therefore gives 2 or 3 rows, never
   0 or 6 as independent draws would.
2. Draws to windows. A source's tokens are cut into windows of T + 1 tokens (inputs and targets) at stride T. Its k-th
   draw is window ``permutation(k mod W)`` of epoch ``k div W``, and every epoch has its own Feistel permutation, so no
   window comes twice before all have come once. Phases of the same T go on where the last one stopped.
3. Windows to tokens. W windows leave up to T - 1 tokens over. Each epoch shifts its windows by a keyed offset of at
   most that many, so it is not always the same tail that goes unread.

Windows cross document boundaries; the boundary token between documents tells the model.

References:
    Gemini 1.0 report (arXiv 2312.11805), section 4: staged training that alters the mixture towards the end.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.data.text.hashing import GOLDEN, Unsigned, mix

from . import permutation

Integers = npt.NDArray[np.int64]

# Shares are fixed-point numbers, so that counts are exact integers on every machine; 2**30 leaves room for 2**33
# sequences in 64 bits.
SHARE_ONE = 1 << 30
HALF = SHARE_ONE // 2


@dataclass(frozen=True)
class Phase:
    """One stage of a staged mixture.

    Attributes:
        until_tokens: Training tokens, counted from the start of the run, at which the phase ends; rounded up to a
            whole step.
        sequence_length_tokens: T, the targets in each row.
        weights: Source -> weight; they need not sum to one.
        batch_size: B, rows per step; None takes the mixture's.
    """

    until_tokens: int
    sequence_length_tokens: int
    weights: Mapping[str, float]
    batch_size: int | None = None


@dataclass(frozen=True)
class _Fork:
    """An inner node of a split: of n sequences that reach it, ``left_count(n)`` go left."""

    share: int
    left: _Fork | str
    right: _Fork | str

    def left_count(self, n: Any) -> Any:
        return (n * self.share + HALF) // SHARE_ONE

    def number_of(self, draw: Any, to_left: bool) -> Any:
        """The number, at this node, of the draw-th sequence that goes left (or right)."""
        if to_left:
            return -((HALF - (draw + 1) * SHARE_ONE) // self.share) - 1
        return (draw * SHARE_ONE + HALF) // (SHARE_ONE - self.share)


class Split:
    """Assigns sequences 0, 1, 2, ... to sources in exact shares, invertibly.

    Two sources are easy: the first gets ``round(n p)`` of the first n sequences and the other the rest; both counts
    never fall, so each sequence has one owner. More sources are a binary tree of such forks. Rounding cumulated
    weights directly would not do: a count could fall where a share is less than one row a batch. The tree is
    Huffman's, which keeps heavy sources near the root and the error of every source below two sequences.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        heap: list[tuple[float, str, _Fork | str]] = [
            (float(weight), name, name) for name, weight in sorted(weights.items()) if weight > 0
        ]
        heapq.heapify(heap)
        while len(heap) > 1:
            light, name, left = heapq.heappop(heap)
            heavy, _, right = heapq.heappop(heap)
            share = round(SHARE_ONE * (light / (light + heavy)))
            heapq.heappush(heap, (light + heavy, name, _Fork(share, left, right)))
        self._root: _Fork | str = heap[0][2]
        self._paths: dict[str, list[tuple[_Fork, bool]]] = {}
        self._collect(self._root, [])
        self.sources = tuple(sorted(self._paths))

    def _collect(self, node: _Fork | str, path: list[tuple[_Fork, bool]]) -> None:
        if isinstance(node, str):
            self._paths[node] = path
            return
        self._collect(node.left, [*path, (node, True)])
        self._collect(node.right, [*path, (node, False)])

    def count(self, source: str, sequences: int) -> int:
        """How many of the first ``sequences`` go to a source."""
        for fork, to_left in self._paths[source]:
            left = fork.left_count(sequences)
            sequences = left if to_left else sequences - left
        return sequences

    def assign(self, numbers: Integers) -> tuple[Integers, Integers]:
        """The owner of each sequence, as an index into ``sources``, and which draw of that source it is."""
        owner, draw = np.empty_like(numbers), numbers.copy()
        pending = [(self._root, np.arange(numbers.size))]
        while pending:
            node, rows = pending.pop()
            if isinstance(node, str):
                owner[rows] = self.sources.index(node)
                continue
            before = node.left_count(draw[rows])
            goes_left = node.left_count(draw[rows] + 1) > before
            draw[rows] = np.where(goes_left, before, draw[rows] - before)
            pending += [(node.left, rows[goes_left]), (node.right, rows[~goes_left])]
        return owner, draw

    def number_of(self, source: str, draws: Integers) -> Integers:
        """The sequence numbers of a source's draws: the inverse of ``assign``."""
        for fork, to_left in reversed(self._paths[source]):
            draws = fork.number_of(draws, to_left)
        return draws


@dataclass(frozen=True)
class _Plan:
    """A phase with its steps, and for each source of its split the windows, key and first draw."""

    first_step: int
    steps: int
    batch_size: int
    length: int
    split: Split
    windows: dict[str, int]
    keys: dict[str, int]
    first_draw: dict[str, int]


class Mixture:
    """The order in which a training run reads its sources.

    Attributes:
        phases: The phases as given.
        ends: First step after each phase.
        step_tokens: Targets of a step in each phase.
        total_steps: Steps of all phases.
        total_tokens: Targets of all steps.
    """

    def __init__(
        self, seed: int, batch_size: int, phases: Sequence[Phase], source_tokens: Mapping[str, int]
    ) -> None:
        """Plans the phases.

        Args:
            seed: Any integer.
            batch_size: B where a phase has none of its own.
            phases: In order, ``until_tokens`` rising.
            source_tokens: Source -> tokens in its stream.

        Raises:
            ValueError: A phase is empty or out of order, has no positive weight, or weighs a source that is unknown
                or shorter than one window.
        """
        sizes = [batch_size if phase.batch_size is None else phase.batch_size for phase in phases]
        if not phases or min(sizes) < 1:
            raise ValueError(
                f"got batch sizes {sizes} of {len(phases)} phases, expected at least one phase and row"
            )
        self.phases = tuple(phases)
        self._seed = seed
        self._tokens = dict(source_tokens)
        self._plans: list[_Plan] = []
        drawn: dict[tuple[str, int], int] = {}
        step = consumed_tokens = 0
        for number, (phase, rows) in enumerate(zip(phases, sizes, strict=True)):
            length = phase.sequence_length_tokens
            _check(number, phase, source_tokens)
            steps = -(-(phase.until_tokens - consumed_tokens) // (rows * length))
            if steps < 1:
                raise ValueError(
                    f"got phase {number} until {phase.until_tokens} tokens, expected more than the "
                    f"{consumed_tokens} that the phases before it train on"
                )
            split = Split(phase.weights)
            self._plans.append(
                _Plan(
                    first_step=step,
                    steps=steps,
                    batch_size=rows,
                    length=length,
                    split=split,
                    windows={name: (source_tokens[name] - 1) // length for name in split.sources},
                    keys={name: permutation.key_of(seed, "windows", name, length) for name in split.sources},
                    first_draw={name: drawn.get((name, length), 0) for name in split.sources},
                )
            )
            for name in split.sources:
                drawn[name, length] = drawn.get((name, length), 0) + split.count(name, steps * rows)
            step += steps
            consumed_tokens += steps * rows * length
        self.ends = tuple(plan.first_step + plan.steps for plan in self._plans)
        self.step_tokens = tuple(plan.batch_size * plan.length for plan in self._plans)
        self.total_steps = step
        self.total_tokens = consumed_tokens

    def phase_of(self, step: int) -> int:
        """The index of the phase that a step belongs to."""
        if not 0 <= step < self.total_steps:
            raise ValueError(f"got step {step}, expected one in [0, {self.total_steps})")
        return max(index for index, plan in enumerate(self._plans) if plan.first_step <= step)

    def locate(self, step: int) -> list[tuple[str, int, int]]:
        """The reads of a step: ``(source, start_token, length)`` for each of its B rows; the length is T + 1."""
        plan = self._plans[self.phase_of(step)]
        first = (step - plan.first_step) * plan.batch_size
        owners, draws = plan.split.assign(first + self._row_order(plan, step))
        names = plan.split.sources
        windows = np.array([plan.windows[name] for name in names])[owners]
        keys = np.array([plan.keys[name] for name in names], np.uint64)[owners]
        tokens = np.array([self._tokens[name] for name in names])[owners]
        draws += np.array([plan.first_draw[name] for name in names])[owners]
        epoch_keys = _epoch_keys(keys, draws // windows)
        window = permutation.permute(draws % windows, windows, epoch_keys)
        starts = _offsets(epoch_keys, tokens, plan.length) + window * plan.length
        return [
            (names[owner], start, plan.length + 1)
            for owner, start in zip(owners.tolist(), starts.tolist(), strict=True)
        ]

    def steps_of(self, source: str, start: int, length: int) -> list[tuple[int, int]]:
        """When tokens ``[start, start + length)`` of a source are read: every ``(step, row)``, in order.

        A row counts when any of its T + 1 tokens, inputs or last target, is among them.
        """
        found: list[tuple[int, int]] = []
        if length <= 0:
            return found
        for plan in self._plans:
            if source not in plan.windows:
                continue
            windows, first_draw = plan.windows[source], plan.first_draw[source]
            end_draw = first_draw + plan.split.count(source, plan.steps * plan.batch_size)
            for epoch in range(first_draw // windows, -(-end_draw // windows)):
                key = _epoch_keys(np.array([plan.keys[source]], np.uint64), np.array([epoch]))
                offset = int(_offsets(key, np.array([self._tokens[source]]), plan.length)[0])
                # Window w holds [offset + w T, offset + w T + T], both ends included.
                low = max(-(-(start - plan.length - offset) // plan.length), 0)
                high = min((start + length - 1 - offset) // plan.length, windows - 1)
                if low > high:
                    continue
                draws = epoch * windows + permutation.invert(np.arange(low, high + 1), windows, key[0])
                draws = draws[(draws >= first_draw) & (draws < end_draw)] - first_draw
                found += self._rows(plan, plan.split.number_of(source, draws))
        return sorted(found)

    def epochs(self) -> dict[str, float]:
        """How many times the whole run reads each source, on average."""
        read: dict[str, float] = {}
        for plan in self._plans:
            for name in plan.split.sources:
                draws = plan.split.count(name, plan.steps * plan.batch_size)
                read[name] = read.get(name, 0.0) + draws / plan.windows[name]
        return read

    def _rows(self, plan: _Plan, numbers: Integers) -> list[tuple[int, int]]:
        found = []
        for number in numbers.tolist():
            step = plan.first_step + number // plan.batch_size
            row = int(np.flatnonzero(self._row_order(plan, step) == number % plan.batch_size)[0])
            found.append((step, row))
        return found

    def _row_order(self, plan: _Plan, step: int) -> Integers:
        """The number of the step's sequence in each row."""
        return permutation.order(plan.batch_size, permutation.key_of(self._seed, "rows", step))


def _check(number: int, phase: Phase, source_tokens: Mapping[str, int]) -> None:
    if phase.sequence_length_tokens < 1:
        raise ValueError(f"got phase {number} with sequences of {phase.sequence_length_tokens} tokens")
    if not any(weight > 0 for weight in phase.weights.values()) or min(phase.weights.values()) < 0:
        raise ValueError(
            f"got phase {number} with weights {dict(phase.weights)}, expected some above 0, none below"
        )
    for name, weight in phase.weights.items():
        if name not in source_tokens:
            raise ValueError(
                f"got phase {number} with a weight for {name!r}, expected one of {', '.join(sorted(source_tokens))}"
            )
        if weight > 0 and source_tokens[name] <= phase.sequence_length_tokens:
            raise ValueError(
                f"got {source_tokens[name]} tokens of {name!r}, expected more than the "
                f"{phase.sequence_length_tokens} of one sequence of phase {number}"
            )


def _epoch_keys(keys: Unsigned, epochs: Integers) -> Unsigned:
    return mix(keys + GOLDEN * epochs.astype(np.uint64))


def _offsets(epoch_keys: Unsigned, tokens: Integers, length: int) -> Integers:
    """How far an epoch shifts its windows: anything from 0 to what whole windows leave over."""
    over = ((tokens - 1) % length + 1).astype(np.uint64)
    return (mix(epoch_keys ^ GOLDEN) % over).astype(np.int64)
