"""Bounds on the weights of sources, and weights drawn within them.

Weights are whole numbers of ten-thousandths. A mixture of some thousand rows resolves no finer, a person can copy them,
and what an optimizer finds on one machine is the same on another whose last bits differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PARTS = 10_000
TINY = 1e-12
BISECTIONS = 80  # of a range of logarithms below 100: to the last bit of a double

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """The weights that sum to one and lie between a least and a most for each source.

    Attributes:
        sources: Names, sorted: the order of every array of weights.
        least: [K] ten-thousandths.
        most: [K] ten-thousandths.
    """

    sources: tuple[str, ...]
    least: tuple[int, ...]
    most: tuple[int, ...]

    def largest(self) -> Floats:
        """[K] the most of each source."""
        return np.asarray(self.most) / PARTS

    def scaled(self, weights: Floats, most: Floats | None = None) -> Floats:
        """The weights inside that keep the ratios of all that meet no bound.

        Args:
            weights: [N, K], none below zero.
            most: [N, K] tighter bounds than the own.

        Returns:
            [N, K], each row ``clip(s * weights, least, most)`` with the one s that makes it sum to one.
        """
        least = np.asarray(self.least) / PARTS
        most = np.broadcast_to(np.asarray(self.most) / PARTS, weights.shape) if most is None else most
        positive = np.maximum(weights, TINY)
        low, high = np.full((len(weights), 1), np.log(TINY)), np.full((len(weights), 1), -2 * np.log(TINY))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            over = np.clip(np.exp(middle) * positive, least, most).sum(axis=1, keepdims=True) > 1
            low, high = np.where(over, low, middle), np.where(over, middle, high)
        return np.clip(np.exp(low) * positive, least, most)

    def rounded(self, weights: Floats) -> Floats:
        """The closest whole ten-thousandths inside, [K], for weights that are inside and sum to one, or nearly."""
        exact = weights * PARTS
        parts = np.clip(np.floor(exact).astype(int), self.least, self.most)
        while missing := PARTS - int(parts.sum()):
            step = 1 if missing > 0 else -1
            open_ = parts < self.most if missing > 0 else parts > self.least
            parts[np.argmax(np.where(open_, step * (exact - parts), -np.inf))] += step
        return parts / PARTS

    def array(self, weights: Mapping[str, float]) -> Floats:
        """Weights by name as [K] that sum to one; sources that are not named have none."""
        values = np.asarray([weights.get(name, 0.0) for name in self.sources], float)
        return values / values.sum()

    def named(self, weights: Floats) -> dict[str, float]:
        """Weights [K] by name."""
        return {name: round(float(weight), 4) for name, weight in zip(self.sources, weights, strict=True)}


def within(most: Mapping[str, float], min_weight: float = 0.0) -> Bounds:
    """The bounds for some sources.

    Args:
        most: Source -> largest weight; more than one is one.
        min_weight: Smallest weight of each.

    Raises:
        ValueError: No weights fit.
    """
    sources = tuple(sorted(most))
    top = {name: min(int(most[name] * PARTS + 1e-9), PARTS) for name in sources}
    low = int(np.ceil(min_weight * PARTS - 1e-9))
    for name in sources:
        if top[name] < low:
            raise ValueError(
                f"got a weight of at most {top[name] / PARTS:g} for {name!r}, expected room for min_weight {min_weight:g}"
            )
    if low * len(sources) > PARTS:
        raise ValueError(
            f"got min_weight {min_weight:g} for {len(sources)} sources, expected at most {1 / len(sources):.4g}"
        )
    if sum(top.values()) < PARTS:
        listed = ", ".join(f"{name} {top[name] / PARTS:g}" for name in sources)
        raise ValueError(
            f"got largest weights that sum to less than one ({listed}), expected room for a mixture"
        )
    return Bounds(sources, (low,) * len(sources), tuple(top[name] for name in sources))


def draw(bounds: Bounds, mean: Floats, concentration: float, count: int, seed: Sequence[int]) -> Floats:
    """Weights from a Dirichlet distribution, inside the bounds.

    A weight drawn beyond its bound is drawn again, uniformly up to the bound, and the others share the rest in their
    drawn ratios: a source always at its bound would not show its effect.

    Args:
        bounds: Of the sources.
        mean: [K] the distribution's mean before bounds.
        concentration: Sum of the distribution's parameters over the number of sources: at 1, an even mean draws
            evenly from all weights; less seeks the corners and more stays near the mean.
        count: N.
        seed: Any integers.

    Returns:
        [N, K] in ten-thousandths.
    """
    rng = np.random.default_rng(seed)
    size = len(bounds.sources)
    shares = rng.standard_gamma(concentration * size * mean, (count, size))
    sums = shares.sum(axis=1, keepdims=True)
    drawn = np.where(sums > 0, shares / np.where(sums > 0, sums, 1), mean)
    least, most = np.asarray(bounds.least) / PARTS, np.asarray(bounds.most) / PARTS
    caps = np.where(drawn > most, rng.uniform(least, most, drawn.shape), most)
    caps = np.where(caps.sum(axis=1, keepdims=True) >= 1, caps, most)
    return np.asarray([bounds.rounded(row) for row in bounds.scaled(drawn, caps)]).reshape(count, size)
