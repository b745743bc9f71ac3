"""Which Beam runner executes a data stage: in-process by default, any other by the spec's ``beam`` section.

The in-process runner is named by class on purpose: Beam's ``DirectRunner`` alias first tries to download a server
binary, which a laptop without a network cannot.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any


def pipeline(runner: str | None, options: Mapping[str, Any], cores: int) -> Any:
    """A new ``apache_beam.Pipeline``.

    Args:
        runner: A Beam runner's name (``FlinkRunner``), or None for the in-process runner with one thread per core.
        options: Beam pipeline options as ``{name: value}``.
        cores: Threads of the in-process runner.
    """
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

    flags = [f"--{name}={value}" for name, value in options.items()]
    if runner is not None:
        return beam.Pipeline(runner=runner, options=PipelineOptions(flags))
    threads = [f"--direct_num_workers={cores}", "--direct_running_mode=multi_threading"]
    return beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(threads + flags))
