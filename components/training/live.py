"""Reports of ``pretrain`` while it runs: loss, speed, utilisation of the machine. Wall times go nowhere else."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence

import jax

from millrace.components.contract import Context
from millrace.components.training.mixture.schedule import Schedule
from millrace.model.devices import peak_flops
from millrace.model.training.goodput import Goodput


class Live:
    """Reports metrics and progress, called with finished steps and the values of the last one.

    Args:
        context: Takes the metrics.
        phases: The tokens of each phase.
        total_steps: Steps of the training.
        token_flops: Work of a token, by phase.
        compute_dtype: Type of the model's products, which says how fast the device could be.
        goodput: Clock of useful and lost time.
    """

    def __init__(
        self,
        context: Context,
        phases: Schedule,
        total_steps: int,
        token_flops: Sequence[int],
        compute_dtype: str,
        goodput: Goodput,
    ) -> None:
        self._context, self._phases, self._goodput = context, phases, goodput
        self._token_flops = token_flops
        self._total_tokens = phases.tokens(total_steps)
        with goodput.lost("measuring the device"):
            one = peak_flops.flops_per_second(jax.local_devices()[0], compute_dtype)
        self._peak = one * jax.device_count()
        self._last: tuple[float, int, float] | None = None

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the state after ``step`` steps."""
        now = time.monotonic()
        for name, value in values.items():
            self._context.metric(name, value, step)
        if self._last is not None:
            seconds = max(now - self._last[0], 1e-9)
            tokens = self._phases.tokens(step) - self._phases.tokens(self._last[1])
            work = self._flops(step) - self._flops(self._last[1])
            self._context.metric("tokens_per_second", tokens / seconds, step)
            self._context.metric("mfu", work / seconds / self._peak, step)
            reading = self._goodput.reading_seconds - self._last[2]
            self._context.metric("data_wait", reading / seconds, step)
        self._context.metric("goodput", self._goodput.share(), step)
        self._context.metric("peak_memory_bytes", peak_memory_bytes(), step)
        self._last = now, step, self._goodput.reading_seconds
        self._context.progress(self._phases.tokens(step), self._total_tokens, "tokens")

    def _flops(self, step: int) -> int:
        return sum(
            tokens * work
            for tokens, work in zip(self._phases.phase_tokens(step), self._token_flops, strict=True)
        )


def peak_memory_bytes() -> int:
    """The most that this host's fullest device has held; where devices do not tell, as on CPU, the process."""
    told = [device.memory_stats() or {} for device in jax.local_devices()]
    of_devices = [stats["peak_bytes_in_use"] for stats in told if "peak_bytes_in_use" in stats]
    return max(of_devices, default=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
