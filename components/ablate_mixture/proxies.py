"""Trains the proxies of ``ablate_mixture``, one after the other, each remembered as soon as it is measured.

A proxy is a pretraining with other weights: the same function trains it, from the same first weights, with the same
compiled step. A stage that was killed reads the results of finished proxies and goes on with the one in hand from its
checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from millrace.components.contract import ComponentError, Context, Inputs, Upstream
from millrace.components.pretrain import stage as pretrain
from millrace.components.training import held_out as held_out_text
from millrace.components.training.mixture import reading
from millrace.components.training.run import Recipe, make_recipe
from millrace.data.mixing.bounds import Bounds, Floats
from millrace.data.training.streams import TokenStreams

from .config import AblateConfig

LIVE_METRICS = ("loss", "tokens_per_second")


class ProxyContext:
    """The ``Context`` of one proxy: a work folder of its own; its steps and tokens follow those of the proxies before.

    Args:
        stage: The stage's context.
        number: Of the proxy, from 0.
        proxies: How many there will be.
        steps: Of each.
    """

    def __init__(self, stage: Context, number: int, proxies: int, steps: int) -> None:
        self._stage, self._number, self._proxies, self._steps = stage, number, proxies, steps
        self.seed = stage.seed
        self.work: Path = stage.work / "proxies" / f"{number:05d}"
        self.log: logging.Logger = stage.log.getChild(f"proxy{number + 1}")
        self.lineage: tuple[Upstream, ...] = ()
        self.threads = stage.threads
        self.host = 0
        self.memory: tuple[int, ...] = ()
        self.work.mkdir(parents=True, exist_ok=True)

    def output(self, port: str) -> Path:
        """A proxy has no outputs."""
        raise NotImplementedError(f"got the output {port!r} of a proxy, expected none")

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        """Passes live metrics on."""
        if name in LIVE_METRICS and step is not None:
            self._stage.metric(name, value, self._number * self._steps + step)

    def progress(self, done: float, total: float, unit: str = "") -> None:
        """Passes progress on, as a part of the whole."""
        self._stage.progress(self._number * total + done, self._proxies * total, unit)

    def beam(self) -> Any:
        """A proxy has no pipeline."""
        raise NotImplementedError("got a proxy that asks for Beam, expected none")


class Proxies:
    """Measures mixtures.

    Args:
        context: Of the stage.
        config: Of the stage.
        inputs: Of the stage.
        held_out: Result of ``held_out_text.read``; not empty.
        bounds: Names the sources.
        planned: How many proxies there will be at most.

    Attributes:
        count: How many were measured.
    """

    def __init__(
        self,
        context: Context,
        config: AblateConfig,
        inputs: Inputs,
        held_out: Mapping[str, held_out_text.HeldOut],
        bounds: Bounds,
        planned: int,
    ) -> None:
        self._context, self._config, self._held_out = context, config, held_out
        # Held-out text is measured once, at the end: here, from what is tokenized already.
        self._inputs = Inputs({port: value for port, value in inputs.ports.items() if port != "benchmarks"})
        self._bounds, self._planned = bounds, planned
        self._recipe: Recipe | None = None
        self.count = 0
        self._seconds: list[float] = []

    def measure(self, name: str, weights: Floats) -> Floats:
        """Bits per byte on each held-out source [H] after training on weights [K].

        Raises:
            ComponentError: The training failed, or was asked to end.
        """
        number, self.count = self.count, self.count + 1
        named = self._bounds.named(weights)
        folder = self._context.work / "proxies"
        file = folder / f"{number:05d}.json"
        losses = _read(file, named)
        known = losses is not None
        if losses is None:
            start = time.monotonic()
            try:
                losses = self._trained(number, named)
            except ComponentError as error:
                raise ComponentError(f"ablate_mixture: {name} ({in_words(named)}): {error}") from error
            self._seconds.append(time.monotonic() - start)
            _write(file, {"weights": named, "bits_per_byte": losses})
        shutil.rmtree(folder / file.stem, ignore_errors=True)
        self._context.log.info(
            "proxy %d of %d, %s: %s bits a byte (%s)%s",
            number + 1,
            self._planned,
            name,
            ", ".join(f"{source} {value:.4f}" for source, value in losses.items()),
            in_words(named),
            " from before" if known else self._left(),
        )
        for source, value in losses.items():
            self._context.metric(f"bits_per_byte_{source}", value, number + 1)
        return np.asarray([losses[source] for source in self._held_out])

    def _trained(self, number: int, weights: dict[str, float]) -> dict[str, float]:
        """Trains a proxy and measures it."""
        config = self._config.proxy(weights)
        streams = TokenStreams.load(self._inputs.one("tokens").path)
        mixture = reading.plan(config, self._context.seed, streams.source_tokens, streams.vocab_size)
        self._recipe = self._recipe or make_recipe(config, mixture)
        within = ProxyContext(self._context, number, self._planned, mixture.total_steps)
        trained = pretrain.train(within, config, self._inputs, recipe=self._recipe)
        evaluation = held_out_text.evaluation(self._held_out, trained.shape.max_sequence_tokens, 1)
        assert evaluation is not None
        _, *values = evaluation.measure(trained.decoder)
        return dict(zip(self._held_out, map(float, values), strict=True))

    def _left(self) -> str:
        left = (self._planned - self.count) * sum(self._seconds) / len(self._seconds)
        unit, size = ("min", 60) if left >= 90 else ("s", 1)
        return f"; about {left / size:.0f} {unit} to go" if self.count < self._planned else ""


def in_words(weights: Mapping[str, float]) -> str:
    """Weights in one line."""
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items())


def _read(file: Path, weights: Mapping[str, float]) -> dict[str, float] | None:
    """A proxy's result, if the file is there and of the same weights."""
    if not file.exists():
        return None
    result = json.loads(file.read_text(encoding="utf-8"))
    losses: dict[str, float] = result["bits_per_byte"]
    return losses if result["weights"] == weights else None


def _write(file: Path, result: Mapping[str, Any]) -> None:
    """Writes a proxy's result, whole or not at all."""
    aside = file.with_suffix(".tmp")
    with aside.open("w", encoding="utf-8") as handle:
        json.dump(result, handle)
        handle.flush()
        os.fsync(handle.fileno())
    aside.replace(file)
