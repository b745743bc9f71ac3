"""Event files hold the run's metrics, read back by protobuf's own decoder from a description of TensorFlow's messages."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from millrace.pipelines.cli.views import event_files

KINDS = descriptor_pb2.FieldDescriptorProto


def event_class() -> Any:
    """``tensorflow.Event`` as far as scalars need it."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int, int, str]) -> None:
        made = file.message_type.add(name=name)
        for field, number, label, kind, type_name in fields:
            made.field.add(name=field, number=number, label=label, type=kind, type_name=type_name or None)

    one, many = KINDS.LABEL_OPTIONAL, KINDS.LABEL_REPEATED
    message("Value", ("tag", 1, one, KINDS.TYPE_STRING, ""), ("simple_value", 2, one, KINDS.TYPE_FLOAT, ""))
    message("Summary", ("value", 1, many, KINDS.TYPE_MESSAGE, ".t.Value"))
    message(
        "Event",
        ("wall_time", 1, one, KINDS.TYPE_DOUBLE, ""),
        ("step", 2, one, KINDS.TYPE_INT64, ""),
        ("file_version", 3, one, KINDS.TYPE_STRING, ""),
        ("summary", 5, one, KINDS.TYPE_MESSAGE, ".t.Summary"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))


def records(data: bytes) -> Iterator[bytes]:
    """The records of a file, every checksum compared."""

    def matches(part: bytes, masked: bytes) -> bool:
        turned = (struct.unpack("<I", masked)[0] - 0xA282EAD8) % 2**32
        return google_crc32c.value(part) == (turned << 15 | turned >> 17) % 2**32

    while data:
        length = struct.unpack("<Q", data[:8])[0]
        body = data[12 : 12 + length]
        assert matches(data[:8], data[8:12])
        assert matches(body, data[12 + length : 16 + length])
        yield body
        data = data[16 + length :]


def test_metrics_come_back_as_they_were(tmp_path: Path) -> None:
    """Steps over one byte, values that are not finite, two stages; results without a step and cut lines stay out."""
    event = {"event": "metric", "stage": "pretrain", "time": 1_000.5}
    lines = [
        json.dumps(event | {"name": "loss", "value": 2.5, "step": 300}),
        json.dumps(event | {"name": "loss", "value": "nan", "step": 70_000}),
        json.dumps(event | {"name": "parameters", "value": 5.0, "step": None}),
        json.dumps(event | {"name": "loss", "value": 1.0, "step": 1, "stage": "sft"}),
        json.dumps({"event": "started", "stage": "evaluate", "time": 1.0}),
        '{"event": "metr',
    ]
    assert event_files.export(lines, tmp_path) == {"pretrain": 2, "sft": 1}
    data = (tmp_path / "pretrain" / "events.out.tfevents.millrace").read_bytes()
    first, second, third = (event_class().FromString(record) for record in records(data))
    assert first.file_version == "brain.Event:2"
    assert (second.step, second.wall_time) == (300, 1_000.5)
    assert (second.summary.value[0].tag, second.summary.value[0].simple_value) == ("loss", 2.5)
    assert third.step == 70_000
    assert third.summary.value[0].simple_value == pytest.approx(float("nan"), nan_ok=True)
