"""Digests of training steps: what a step computed, in bits, so that doing it again can be compared.

A processor that computes wrongly now and then gives no error. Training on one kind of machine is the same bits every
time, so the records of a sound training are met by every replay, and the first that is not tells where it went wrong.

    digests.jsonl   {"step", "loss", "gradient_norm", "parameters", "batch"}, one line for every recorded step

``loss`` and ``gradient_norm`` are the bits of float32 numbers, ``parameters`` is the checksum after the step's update
(``model.checksum``), ``batch`` a SHA-256 of what the step read; all are hexadecimal.

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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..model.fit import History

FILE = "digests.jsonl"
COMPARED = ("batch", "loss", "gradient_norm", "parameters")

Record = Mapping[str, int | str]


@dataclass(frozen=True)
class Difference:
    """The first recorded step that is not the same.

    Attributes:
        step: The step, from 0.
        last_equal_step: The recorded step before it, or None: the fault lies after that one.
        fields: Which of ``COMPARED`` differ.
        recorded: Their recorded values.
        replayed: Their values now.
    """

    step: int
    last_equal_step: int | None
    fields: tuple[str, ...]
    recorded: Mapping[str, int | str]
    replayed: Mapping[str, int | str]


def recorded_steps(total_steps: int, every_steps: int) -> list[int]:
    """The steps (from 0) that are recorded: those that complete a multiple of ``every_steps``, and the last."""
    if not every_steps:
        return []
    return sorted({*range(every_steps - 1, total_steps, every_steps), total_steps - 1})


def records(
    history: History,
    batch_of: Callable[[int], Mapping[str, np.ndarray]],
    every_steps: int,
    until_steps: int | None = None,
) -> list[Record]:
    """The records of a training, or of its first ``until_steps`` steps."""
    total_steps = len(history.curves["loss"])
    if history.checksums is None:
        return []
    bits = {name: history.curves[name].view("uint32") for name in ("loss", "gradient_norm")}
    return [
        {
            "step": step,
            **{name: f"{int(curve[step]):08x}" for name, curve in bits.items()},
            "parameters": "".join(f"{int(word):08x}" for word in history.checksums[step // every_steps]),
            "batch": batch_digest(batch_of(step)),
        }
        for step in recorded_steps(total_steps, every_steps)
        if until_steps is None or step < until_steps
    ]


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


def first_difference(recorded: Sequence[Record], replayed: Sequence[Record]) -> Difference | None:
    """Compares records of the same steps, in order; None when all are equal.

    Raises:
        ValueError: They are not of the same steps.
    """
    last_equal = None
    for before, now in zip(recorded, replayed, strict=True):
        if before["step"] != now["step"]:
            raise ValueError(f"got a record of step {now['step']}, expected one of step {before['step']}")
        fields = tuple(name for name in COMPARED if before[name] != now[name])
        step = int(before["step"])
        if fields:
            return Difference(
                step,
                last_equal,
                fields,
                {name: before[name] for name in fields},
                {name: now[name] for name in fields},
            )
        last_equal = step
    return None
