"""Live metrics are rates of the tokens and the work between two logs, and progress counts tokens over phases."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from millrace.components.training import live
from millrace.components.training.mixture.schedule import Schedule
from millrace.data.training.mixture import Mixture, Phase
from millrace.model.devices import peak_flops
from millrace.model.training.goodput import Goodput
from millrace.pipelines.stages.context import StageContext


def test_rates_are_differences_between_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps 2 to 6 over the border of two phases, in two seconds, on a device of a known peak."""
    monkeypatch.setattr(peak_flops, "flops_per_second", lambda device, dtype: 1000.0)
    now = [10.0]
    events: list[dict[str, Any]] = []
    context = StageContext(seed=0, work=tmp_path, outputs={}, emit=events.append, log=logging.getLogger())
    phases = [Phase(4 * 16, 8, {"a": 1}), Phase(4 * 16 + 4 * 32, 16, {"a": 1})]
    tokens = Schedule(Mixture(0, 2, phases, {"a": 1000}))  # four steps of 16 tokens, then four of 32
    told = live.Live(context, tokens, 8, [2, 3], "float32", Goodput())
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    told(2, {"loss": 3.0})
    now[0] = 12.0
    told(6, {"loss": 2.0})
    found = {(e["name"], e["step"]): e["value"] for e in events if e["event"] == "metric"}
    assert (found["loss", 2], found["loss", 6]) == (3.0, 2.0)
    assert found["tokens_per_second", 6] == (2 * 16 + 2 * 32) / 2
    assert found["mfu", 6] == pytest.approx((2 * 16 * 2 + 2 * 32 * 3) / 2 / 1000)
    assert found["data_wait", 6] == 0
    assert ("mfu", 2) not in found
    progress = [(e["done"], e["total"]) for e in events if e["event"] == "progress"]
    assert progress == [(32, 192), (128, 192)]


def test_memory_is_the_processs_where_devices_do_not_tell() -> None:
    """More than the interpreter alone needs, less than a terabyte."""
    assert 2**24 < live.peak_memory_bytes() < 2**40
