"""The search for weights: measure the given mixtures, fit, measure the fit's proposal, keep the best of all.

The result was measured like every other mixture: when a fit is wrong, its proposal measures worse than a mixture tried
before, and that one wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import laws, proposal
from .bounds import Bounds, Floats

WEAK_R2 = 0.5

Measure = Callable[[str, Floats], Floats]


@dataclass(frozen=True)
class Tried:
    """A measured mixture.

    Attributes:
        name: Its role: the prior, a candidate, a sample or a proposal, with its number.
        weights: [K].
        losses: [H] on held-out sources.
        objective: Their weighted mean.
        predicted: The objective that was predicted without this mixture; None where no form could be fitted.
        error: Standard error of the prediction.
        is_proposal: Whether a fit asked for it.
    """

    name: str
    weights: Floats
    losses: Floats
    objective: float
    predicted: float | None = None
    error: float | None = None
    is_proposal: bool = False


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        tried: All measured mixtures, the prior first, proposals last.
        fits: Every form that could be fitted, the best first.
        doubts: Warnings to read before using the weights, a sentence each; empty when all went well.
    """

    tried: tuple[Tried, ...]
    fits: tuple[laws.Surrogate, ...]
    doubts: tuple[str, ...]

    @property
    def prior(self) -> Tried:
        """The mixture that one would have used."""
        return self.tried[0]

    @property
    def best(self) -> Tried:
        """The smallest measured objective; of equal ones the first."""
        return min(self.tried, key=lambda tried: tried.objective)


def search(
    measure: Measure,
    given: Sequence[tuple[str, Floats]],
    bounds: Bounds,
    importance: Floats,
    proposals: int,
    seed: Sequence[int],
) -> Found:
    """Searches.

    Args:
        measure: Name and weights [K] of a mixture -> its losses [H].
        given: Names and weights of the mixtures to begin with, the prior first.
        bounds: Bounds on proposals.
        importance: [H] weights of held-out sources in the objective, which sum to one.
        proposals: How many mixtures to propose and measure, each from a fit to all before.
        seed: Of the starts of the minimisation.
    """
    tried: list[Tried] = []

    def attempt(name: str, weights: Floats) -> Tried:
        losses = measure(name, weights)
        return Tried(name, weights, losses, float(losses @ importance))

    def fitted() -> list[laws.Surrogate]:
        weights, losses = (
            np.stack([getattr(one, field) for one in tried]) for field in ("weights", "losses")
        )
        return laws.fit_all(weights, losses, importance)

    for name, weights in given:
        tried.append(attempt(name, weights))
    fits = first = fitted()
    doubts: list[str] = []
    if first:
        predicted = first[0].left_out @ importance
        tried = [
            replace(one, predicted=float(value), error=first[0].rmse)
            for one, value in zip(tried, predicted, strict=True)
        ]
    for number in range(proposals):
        if doubt := _doubt_of(fits, len(tried), len(bounds.sources)):
            doubts.append(doubt)
            break
        known = np.stack([one.weights for one in tried])
        weights = proposal.minimise(bounds, fits[0].objective, known, seed)
        if (known == weights).all(axis=1).any():
            break  # the fit expects no more of anything that was not measured
        made = attempt(f"proposal {number + 1}", weights)
        tried.append(
            replace(
                made,
                predicted=float(fits[0].objective(weights[None])[0]),
                error=float(fits[0].error(weights[None])[0]),
                is_proposal=True,
            )
        )
        fits = fitted()
    found = Found(tuple(tried), tuple(first), ())
    return replace(found, doubts=(*doubts, *_doubts_of(found)))


def _doubt_of(fits: Sequence[laws.Surrogate], mixtures: int, sources: int) -> str | None:
    """Why a fit must not propose anything."""
    if not fits:
        return (
            f"{mixtures} mixtures are too few to fit anything to, expected at least {min(laws.needs(sources).values())} "
            f"({laws.needs(sources)['mixing_law']} for the mixing law): nothing was proposed"
        )
    if fits[0].r2 <= 0:
        return (
            f"no form predicts a mixture that it has not seen better than the mean of the others does (left-out R² of "
            f"the best, {fits[0].form}: {fits[0].r2:.2f}): nothing is proposed from it"
        )
    return None


def _doubts_of(found: Found) -> list[str]:
    """The questions that the measured mixtures leave open."""
    doubts = []
    best, prior = found.best, found.prior
    asked = [one for one in found.tried if one.is_proposal]
    if asked and not best.is_proposal:
        doubts.append(
            f"the proposal measured {min(one.objective for one in asked):.4f}, worse than {best.name} with "
            f"{best.objective:.4f}, whose weights are kept instead"
        )
    if found.fits and 0 < found.fits[0].r2 < WEAK_R2:
        doubts.append(
            f"the fit is weak (left-out R² {found.fits[0].r2:.2f}): read proposals as candidates that a guess chose"
        )
    gain = prior.objective - best.objective
    if best is prior:
        doubts.append("nothing that was measured is better than the prior, which is kept")
    elif found.fits and gain < found.fits[0].rmse:
        doubts.append(
            f"the gain over the prior, {gain:.4f}, is less than the error of the fit, {found.fits[0].rmse:.4f}: the prior "
            "may be as good"
        )
    return doubts
