"""The in-process runner's settings that Beam has no option for."""

from __future__ import annotations

from apache_beam.runners.worker.statesampler import StateSampler
from apache_beam.utils.counters import CounterFactory

from millrace.pipelines.stages import beam


def test_beams_sampler_does_not_hold_up_the_end_of_a_bundle() -> None:
    """What Beam makes for each bundle wakes every few milliseconds; another Beam may take it another way."""
    beam.pipeline(None, {}, 1)
    assert StateSampler("bundle", CounterFactory()).sampling_period_ms == beam.SAMPLING_MILLISECONDS
