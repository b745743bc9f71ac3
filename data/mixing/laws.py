"""Predicts the loss from weights: published forms fitted to measured mixtures, each judged on mixtures left out of the
fit.

Every form is judged by leaving one mixture out: it is fitted to the others and predicts the one, for each in turn. A
form with many coefficients fits anything and is found out here. All arrays are float64: weights [N, K] of N mixtures
and K sources, positive losses [N, H] on H held-out sources.

References:
    Ye et al. 2024, Data Mixing Laws, arXiv 2403.16952, section 3 (the exponential law);
    Liu et al. 2024, RegMix, arXiv 2407.01492, section 3.2 (regression of the loss on weights).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.stats

from .bounds import Floats

Predictor = Callable[[Floats], Floats]

PENALTIES = tuple(np.logspace(-6, 2, 17))
# Where the law's constant may lie below the smallest loss, in spans of the losses; the last is replaced by zero.
DEPTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
REFINED_STARTS = 2
WORST = 10.0
FLOOR = 0.001  # of a weight before its logarithm is taken


@dataclass(frozen=True)
class Surrogate:
    """One form, fitted to all mixtures and to all but one.

    Attributes:
        form: Its name.
        models: For each held-out source what predicts it.
        folds: For each mixture the models that have not seen it.
        importance: [H] weights of the held-out sources in the objective, which sum to one.
        left_out: [N, H] predictions for each mixture by the fold that left it out.
        r2: Of the objective's left-out predictions, against left-out means: one is perfect, at zero or below the mean
            predicts as well.
        spearman: Rank correlation of the same with the measured ones; NaN when all are equal.
        rmse: Their root mean square error.
        source_r2: [H] as ``r2``, for each held-out source.
    """

    form: str
    models: tuple[Predictor, ...]
    folds: tuple[tuple[Predictor, ...], ...]
    importance: Floats
    left_out: Floats
    r2: float
    spearman: float
    rmse: float
    source_r2: Floats

    def losses(self, weights: Floats) -> Floats:
        """[M, H] for weights [M, K]."""
        return _predict(self.models, weights)

    def objective(self, weights: Floats) -> Floats:
        """[M] for weights [M, K]."""
        return self.losses(weights) @ self.importance

    def error(self, weights: Floats) -> Floats:
        """[M] standard error of predicted objectives.

        The left-out error, and the jackknife's standard error of the fit at these weights, which grows where there is
        nothing measured near.

        References:
            Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 11 (jackknife).
        """
        each = np.stack([_predict(fold, weights) @ self.importance for fold in self.folds])
        fit = (len(each) - 1) * each.var(axis=0)
        return np.sqrt(fit + self.rmse**2)


def fit_all(weights: Floats, losses: Floats, importance: Floats) -> list[Surrogate]:
    """Every form for which there are enough mixtures, the best left-out error of the objective first.

    Args:
        weights: [N, K].
        losses: [N, H].
        importance: [H] weights of held-out sources, which sum to one.
    """
    enough = [form for form, needed in needs(weights.shape[1]).items() if len(weights) >= needed]
    return sorted((_fit(form, weights, losses, importance) for form in enough), key=lambda made: made.rmse)


def needs(sources: int) -> dict[str, int]:
    """Form -> the fewest mixtures that it can be fitted to and judged by."""
    # The law has K + 1 coefficients and loses one mixture to the judging; a penalty copes with fewer than coefficients.
    return {"mixing_law": sources + 2, "linear": 4, "logarithmic": 4, "quadratic": 4}


def _fit(form: str, weights: Floats, losses: Floats, importance: Floats) -> Surrogate:
    fitted = FORMS[form]

    def models(rows: npt.NDArray[np.int64]) -> tuple[Predictor, ...]:
        return tuple(fitted(weights[rows], column[rows]) for column in losses.T)

    everything = np.arange(len(weights))
    folds = tuple(models(np.delete(everything, row)) for row in everything)
    left_out = np.concatenate([_predict(fold, weights[row : row + 1]) for row, fold in enumerate(folds)])
    measured, predicted = losses @ importance, left_out @ importance
    ranks = scipy.stats.rankdata(measured), scipy.stats.rankdata(predicted)
    varies = all(np.ptp(rank) > 0 for rank in ranks)
    return Surrogate(
        form,
        models(everything),
        folds,
        importance,
        left_out,
        r2=_r2(measured, predicted),
        spearman=float(np.corrcoef(*ranks)[0, 1]) if varies else math.nan,
        rmse=float(np.sqrt(np.mean((measured - predicted) ** 2))),
        source_r2=np.asarray([_r2(*columns) for columns in zip(losses.T, left_out.T, strict=True)]),
    )


def _predict(models: tuple[Predictor, ...], weights: Floats) -> Floats:
    return np.stack([model(weights) for model in models], axis=1)


def _r2(measured: Floats, predicted: Floats) -> float:
    """One minus the squared error over that of the mean of the other mixtures."""
    count = len(measured)
    means = (measured.sum() - measured) / (count - 1)
    spread = float(np.sum((measured - means) ** 2))
    return 1 - float(np.sum((measured - predicted) ** 2)) / spread if spread > 0 else 0.0


def mixing_law(weights: Floats, losses: Floats) -> Predictor:
    """``c + exp(sum_j t_j w_j)``, c at least zero, by least squares.

    The law's factor k is in t, because weights sum to one. Given c it is a line in the logarithm, which gives starts
    for a range of c; the best are refined together. No source alone may lose more than ``WORST`` times what was
    measured: few mixtures would otherwise be fitted exactly by coefficients that explode beside them.
    """
    span = float(np.ptp(losses)) or 1e-12
    low = float(losses.min())
    steepest = math.log(WORST * losses.max())
    constants = sorted({max(low - depth * span, 0.0) for depth in DEPTHS} | {0.0})
    starts = []
    for constant in constants:
        above = losses - constant
        if np.any(above <= 0):
            continue
        # To first order, an error in the logarithm is one in the loss over what is above the constant.
        slopes, *_ = np.linalg.lstsq(weights * above[:, None], np.log(above) * above, rcond=None)
        starts.append(np.asarray([constant, *np.minimum(slopes, steepest - 1e-6)]))

    def residuals(point: Floats) -> Floats:
        return _law(point, weights) - losses

    def jacobian(point: Floats) -> Floats:
        growth = _law(point, weights) - point[0]
        return np.column_stack([np.ones(len(weights)), growth[:, None] * weights])

    least = [0.0] + [-np.inf] * weights.shape[1]
    most = [np.inf] + [steepest] * weights.shape[1]
    starts.sort(key=lambda start: float(np.sum(residuals(start) ** 2)))
    refined = [
        scipy.optimize.least_squares(
            residuals,
            start,
            jacobian,  # pyright: ignore[reportArgumentType]  # taken for a str, as its default is one
            bounds=(least, most),
            x_scale="jac",
            max_nfev=200,
        )
        for start in starts[:REFINED_STARTS]
    ]
    best = min(refined, key=lambda found: float(found.cost)).x
    return lambda asked: _law(best, asked)


def _law(point: Floats, weights: Floats) -> Floats:
    return point[0] + np.exp(np.clip(weights @ point[1:], -50, 50))


def linear(weights: Floats, losses: Floats) -> Predictor:
    """A ridge regression on weights."""
    return _ridge(weights, losses, lambda given: given)


def logarithmic(weights: Floats, losses: Floats) -> Predictor:
    """A ridge regression on logarithms of weights: a loss that falls as a power of them, to first order.

    It rises steeply where a source that matters has almost no weight, which no other form here can follow.

    References:
        Ge et al. 2024, BiMix, arXiv 2405.14908 (loss as a power of a domain's proportion).
    """
    return _ridge(weights, losses, lambda given: np.log(np.maximum(given, 0) + FLOOR))


def quadratic(weights: Floats, losses: Floats) -> Predictor:
    """A ridge regression on weights and their products."""
    rows, columns = np.triu_indices(weights.shape[1])
    return _ridge(
        weights, losses, lambda given: np.concatenate([given, given[:, rows] * given[:, columns]], axis=1)
    )


def _ridge(weights: Floats, losses: Floats, features: Predictor) -> Predictor:
    """Least squares with the penalty that predicts left-out mixtures best, in closed form.

    References:
        Allen 1974, The Relationship between Variable Selection and Data Augmentation, Technometrics 16 (PRESS).
    """
    raw = features(weights)
    centre, mean = raw.mean(axis=0), float(losses.mean())
    scale = raw.std(axis=0)
    scale[scale == 0] = 1.0
    left, sizes, right = np.linalg.svd((raw - centre) / scale, full_matrices=False)
    along = left.T @ (losses - mean)

    def left_out_error(penalty: float) -> float:
        shrink = sizes**2 / (sizes**2 + penalty)
        leverage = (left**2 @ shrink) + 1 / len(losses)
        errors = (losses - mean - left @ (shrink * along)) / np.maximum(1 - leverage, 1e-9)
        return float(np.sum(errors**2))

    penalty = min((size * len(losses) for size in PENALTIES), key=left_out_error)
    slopes = right.T @ (sizes / (sizes**2 + penalty) * along)
    return lambda asked: mean + ((features(asked) - centre) / scale) @ slopes


FORMS: dict[str, Callable[[Floats, Floats], Predictor]] = {
    "mixing_law": mixing_law,
    "linear": linear,
    "logarithmic": logarithmic,
    "quadratic": quadratic,
}
