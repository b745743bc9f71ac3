"""A run's live metrics as TensorBoard event files: one folder for each stage, made from the run's ``events.jsonl``.

The run keeps its own plain log, which needs no library and holds every stage; TensorBoard is one of several ways to
look at it, so its format is written on demand instead of beside the log. The two messages it needs are encoded here:
TensorFlow's own writer would bring TensorFlow, and tensorboardX's names the file by the clock and the host and writes
from a thread, so the same run would not give the same bytes and the command given again would add a file.

References:
    TensorFlow, ``tensorflow/core/util/event.proto`` and ``tensorflow/core/framework/summary.proto`` (fields);
    ``tensorflow/core/lib/io/record_writer.h`` (records: length, masked CRC-32C of it, data, masked CRC-32C of it).
"""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

FILE_VERSION = b"brain.Event:2"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def export(events: Iterable[str], folder: Path) -> dict[str, int]:
    """Writes the metrics of a run.

    Args:
        events: Lines of a run's ``events.jsonl``; a line that is cut off ends them, as the run may be writing it.
        folder: Where each stage gets a folder with one event file; what a call before this one wrote is replaced.

    Returns:
        Stage -> how many values were written; stages without stepped metrics are left out.
    """
    values: dict[str, list[tuple[float, int, str, float]]] = defaultdict(list)
    for line in events:
        try:
            event = json.loads(line)
        except ValueError:
            break
        if event.get("event") == "metric" and event.get("step") is not None:
            values[event["stage"]].append(
                (float(event["time"]), int(event["step"]), str(event["name"]), float(event["value"]))
            )
    for stage, rows in values.items():
        path = folder / stage / "events.out.tfevents.millrace"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(_file(rows)))
    return {stage: len(rows) for stage, rows in values.items()}


def _file(rows: list[tuple[float, int, str, float]]) -> Iterator[bytes]:
    yield _record(_double(1, rows[0][0]) + _bytes(3, FILE_VERSION))
    for seconds, step, name, value in rows:
        summary = _bytes(1, _bytes(1, name.encode()) + _key(2, _FIXED32) + struct.pack("<f", value))
        yield _record(_double(1, seconds) + _key(2, _VARINT) + _varint(step) + _bytes(5, summary))


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_checksum(length) + data + _masked_checksum(data)


def _masked_checksum(data: bytes) -> bytes:
    import google_crc32c

    value = google_crc32c.value(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _double(field: int, value: float) -> bytes:
    return _key(field, _FIXED64) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(value)) + value


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
