"""The context of a running stage: its output folders, work folder, logger, metrics, progress and Beam.

Metrics and progress go to one sink, a function that takes JSON-ready events; the stage process writes them to its
event file, tests collect them in a list.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from millrace.components.contract import Upstream

from . import beam

PROGRESS_SECONDS = 0.2


class StageContext:
    """The ``Context`` of ``components.contract`` for one attempt at one stage."""

    def __init__(
        self,
        *,
        seed: int,
        work: Path,
        outputs: Mapping[str, Path],
        emit: Callable[[dict[str, Any]], None],
        log: logging.Logger,
        lineage: tuple[Upstream, ...] = (),
        beam_runner: str | None = None,
        beam_options: Mapping[str, Any] | None = None,
        cores: int | None = None,
        host: int = 0,
        memory: tuple[int, ...] = (),
    ) -> None:
        self.seed = seed
        self.work = work
        self.log = log
        self.lineage = lineage
        self.host = host
        self.memory = memory
        self.metrics: dict[str, float] = {}
        self._outputs = outputs
        self._emit = emit
        self._beam = (beam_runner, dict(beam_options or {}), cores or os.cpu_count() or 1)
        self.threads = beam.threads(*self._beam)
        self._last_progress = 0.0

    def output(self, port: str) -> Path:
        """The folder to fill for an output port."""
        return self._outputs[port]

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        """Records a metric; without a step it is a result of the stage."""
        number = float(value)
        if step is None:
            self.metrics[name] = number
        self._emit(
            {
                "event": "metric",
                "name": name,
                "value": number if math.isfinite(number) else repr(number),
                "step": step,
            }
        )

    def progress(self, done: float, total: float, unit: str = "") -> None:
        """Reports progress, at most five times a second plus the end."""
        now = time.monotonic()
        if now - self._last_progress >= PROGRESS_SECONDS or done >= total:
            self._last_progress = now
            self._emit({"event": "progress", "done": float(done), "total": float(total), "unit": unit})

    def beam(self) -> Any:
        """A new Beam pipeline on the runner that the spec names."""
        return beam.pipeline(*self._beam)
