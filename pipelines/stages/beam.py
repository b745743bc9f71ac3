"""Which Beam runner executes a data stage: in-process by default, any other by the spec's ``beam`` section.

The in-process runner is named by class on purpose: Beam's ``DirectRunner`` alias first tries to download a server
binary, which a laptop without a network cannot.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

_WORKERS = ("direct_num_workers", "direct_running_mode")
SAMPLING_MILLISECONDS = 5


def threads(runner: str | None, options: Mapping[str, Any], cores: int) -> int:
    """How many shards one worker should work on at once.

    The in-process runner has one worker with all cores; workers of other runners, and those that the options start,
    are as many as there are cores already.

    Args:
        runner: A Beam runner's name (``FlinkRunner``), or None for the in-process runner.
        options: Beam pipeline options as ``{name: value}``.
        cores: Cores of this machine that the stage may use.
    """
    return cores if runner is None and not any(name in options for name in _WORKERS) else 1


def pipeline(runner: str | None, options: Mapping[str, Any], cores: int) -> Any:
    """A new ``apache_beam.Pipeline``.

    Args:
        runner: A Beam runner's name (``FlinkRunner``), or None for the in-process runner.
        options: Beam pipeline options as ``{name: value}``.
        cores: Workers of the in-process runner, where the options say of what kind but not how many.
    """
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

    flags = [f"--{name}={value}" for name, value in options.items()]
    if runner is not None:
        return beam.Pipeline(runner=runner, options=PipelineOptions(flags))
    _end_bundles_at_once()
    own = ["--direct_num_workers=1", "--direct_running_mode=in_memory"]
    if any(name in options for name in _WORKERS):  # options that name one of the two leave the other to these
        own = [f"--direct_num_workers={cores}", "--direct_running_mode=multi_threading"]
    return beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(own + flags))


def _end_bundles_at_once() -> None:
    """Lets Beam sample its own state every few milliseconds.

    By default it does so up to five times a second and a bundle that is done waits for the sampler to wake, 0.1 s on
    average, which a stage of four passes pays four times. Beam has no option for the interval.
    """
    from apache_beam.runners.worker.statesampler import DEFAULT_SAMPLING_PERIOD_MS, StateSampler

    if StateSampler.__init__.__defaults__ == (DEFAULT_SAMPLING_PERIOD_MS,):
        StateSampler.__init__.__defaults__ = (SAMPLING_MILLISECONDS,)
