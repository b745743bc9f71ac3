"""One compiled step for several trainings that differ in nothing but their batches and their first weights.

``fit`` makes its step from a module, an optimizer and a loss, and compiles it anew each time, because it cannot know
that the next training wants the same program. A search over mixtures does want it: its trainings take seconds, and so
does compiling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class SharedStep:
    """Hand the same one to every ``fit``: the first compiles, the others use what it compiled.

    Attributes:
        shapes: Shapes of batches that are compiled.
    """

    def __init__(self) -> None:
        self.shapes: set[Any] = set()
        self._parts: tuple[Any, ...] | None = None
        self._step: Callable[..., Any] | None = None

    def of(self, parts: tuple[Any, ...], step: Callable[..., Any]) -> Callable[..., Any]:
        """The step of the first training.

        Args:
            parts: What a step is made of; equal parts make the same program.
            step: This training's own step, not yet traced.

        Raises:
            ValueError: The parts are not those of the first training.
        """
        if self._step is None:
            self._parts, self._step = parts, step
        if parts != self._parts:
            raise ValueError(
                "got a training of another module, optimizer, loss or mesh than the first that used this step, "
                "expected the same objects; give it a step of its own"
            )
        return self._step
