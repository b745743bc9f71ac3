"""The steps and the number of tokens of each phase of a mixture."""

from __future__ import annotations

from millrace.data.training.mixture import Mixture


class Schedule:
    """How many tokens the phases of a mixture have."""

    def __init__(self, mixture: Mixture) -> None:
        self._ends, self._step_tokens = mixture.ends, mixture.step_tokens

    def phase_tokens(self, done_steps: int) -> list[int]:
        """Training tokens of each phase in the first ``done_steps`` steps."""
        starts = [0, *self._ends[:-1]]
        return [
            max(min(done_steps, end) - start, 0) * tokens
            for start, end, tokens in zip(starts, self._ends, self._step_tokens, strict=True)
        ]

    def tokens(self, done_steps: int) -> int:
        """Training tokens in the first ``done_steps`` steps."""
        return sum(self.phase_tokens(done_steps))
