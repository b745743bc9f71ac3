"""Digests of training steps: the exact results of each step, to compare a replay with.

A faulty processor computes wrong values without an error. Training on one kind of machine gives the same bits every
time, so every replay of a sound training matches its records, and the first step that differs shows where the fault
began.

    digests.jsonl   {"first_step", "step", "loss", "gradient_norm", "parameters", "batch", "devices"}, a line for a block

A block is the steps from ``first_step`` to ``step``. ``loss`` and ``gradient_norm`` are the bits of a float32 number for
each of them, eight digits a step; ``parameters`` is the checksum after the last one's update (``model.states.checksum``) and
``batch`` a SHA-256 of its batch, all hexadecimal. ``devices`` is their number, since sums over another number differ in
bits.

References:
    Dixit et al. 2021, Silent Data Corruptions at Scale, arXiv 2102.11245.
    Gemini 1.0 report 2023, arXiv 2312.11805, section 3 (deterministic replay to isolate faulty hardware).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from millrace.model.training.loop import History

FILE = "digests.jsonl"
OF_EVERY_STEP = ("loss", "gradient_norm")
OF_LAST_STEP = ("batch", "parameters")
DIGITS = 8

Record = Mapping[str, int | str]


@dataclass(frozen=True)
class Difference:
    """The first step that is not the same.

    Attributes:
        step: The step, from 0.
        parameters_equal_after_step: The last step before it after which the parameters were compared, and were equal;
            None where there is none.
        fields: The fields that differ: ``loss``, ``gradient_norm``, ``batch``, ``parameters``. Where only the
            parameters do, the step's own update went wrong; where only the loss does, it or the update before.
        recorded: Their recorded values.
        replayed: Their values now.
    """

    step: int
    parameters_equal_after_step: int | None
    fields: tuple[str, ...]
    recorded: Mapping[str, int | str]
    replayed: Mapping[str, int | str]


def last_steps(total_steps: int, every_steps: int) -> list[int]:
    """The last step (from 0) of every block: those that complete a multiple of ``every_steps``, and the last of all."""
    if not every_steps:
        return []
    return sorted({*range(every_steps - 1, total_steps, every_steps), total_steps - 1})


def records(
    history: History,
    batch_of: Callable[[int], Mapping[str, np.ndarray]],
    every_steps: int,
    until_steps: int | None = None,
    devices: int = 1,
) -> list[Record]:
    """The blocks of a training, or of its first ``until_steps`` steps: then the last block may be incomplete."""
    total_steps = len(history.curves["loss"])
    if history.checksums is None:
        return []
    end = total_steps if until_steps is None else min(until_steps, total_steps)
    bits = {name: history.curves[name].view("uint32") for name in OF_EVERY_STEP}
    found: list[Record] = []
    for last in last_steps(total_steps, every_steps):
        first = last // every_steps * every_steps
        if first >= end:
            break
        block: dict[str, int | str] = {"first_step": first, "step": min(last, end - 1), "devices": devices}
        for name, curve in bits.items():
            block[name] = "".join(f"{int(word):0{DIGITS}x}" for word in curve[first : min(last + 1, end)])
        if last < end:
            words = history.checksums[last // every_steps]
            block["parameters"] = "".join(f"{int(word):08x}" for word in words)
            block["batch"] = batch_digest(batch_of(last))
        found.append(block)
    return found


def batch_digest(batch: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and bytes of a batch's arrays, hexadecimal."""
    digest = hashlib.sha256()
    for name, array in sorted(batch.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write(path: Path, found: Iterable[Record]) -> None:
    """Writes records as JSON lines, stable."""
    lines = (json.dumps(record, sort_keys=True) + "\n" for record in found)
    path.write_text("".join(lines), encoding="utf-8")


def read(path: Path) -> list[Record]:
    """Reads what ``write`` wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def first_difference(
    recorded: Sequence[Record], replayed: Sequence[Record], first_step: int, end_step: int
) -> Difference | None:
    """Compares the steps of ``[first_step, end_step)``; None when all are equal.

    Args:
        recorded: All blocks of a training.
        replayed: Blocks of the training done again, from step 0 to ``end_step`` at least.
        first_step: First step to compare.
        end_step: The first not to compare.

    Raises:
        ValueError: The blocks are not of the same steps.
    """
    equal_after = None
    for before, now in zip(recorded, replayed, strict=False):
        first, last, given = int(before["first_step"]), int(before["step"]), int(now["step"])
        if now["first_step"] != first or ("parameters" in now and given != last):
            raise ValueError(
                f"got a block of steps {now['first_step']} to {given}, expected {first} to {last}"
            )
        for step in range(max(first, first_step), min(last + 1, end_step)):
            was, is_ = (_values(block, step) for block in (before, now))
            if fields := tuple(name for name in is_ if was[name] != is_[name]):
                chosen = ({name: values[name] for name in fields} for values in (was, is_))
                return Difference(step, equal_after, fields, *chosen)
        if first_step <= last < end_step:
            equal_after = last
    return None


def _values(block: Record, step: int) -> dict[str, int | str]:
    """The record of one step of a block."""
    place = (step - int(block["first_step"])) * DIGITS
    values: dict[str, int | str] = {name: str(block[name])[place : place + DIGITS] for name in OF_EVERY_STEP}
    if step == block["step"]:
        values |= {name: block[name] for name in OF_LAST_STEP if name in block}
    return values
