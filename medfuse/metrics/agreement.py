"""How well predicted classes, grades and numbers agree with the truth.

scikit-learn and scipy make the figures. An undefined one is NaN.
"""

import warnings
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray


def quadratic_kappa(truth: ArrayLike, predicted: ArrayLike, grades: int, weights: ArrayLike | None = None) -> float:
    """Cohen's kappa with quadratic weights of grades 0 to `grades - 1`; NaN where both hold the same one.

    scikit-learn's `cohen_kappa_score`. Source: J. Cohen, "Weighted kappa", Psychological Bulletin 70 (1968).
    """
    from sklearn.metrics import cohen_kappa_score

    given, said = _whole(truth, predicted)
    held = np.ones(given.size, bool) if weights is None else np.asarray(weights) > 0
    if not held.any() or (np.unique(given[held]).size == 1 and np.array_equal(given[held], said[held])):
        return nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of grades that no case has
        return float(cohen_kappa_score(given, said, labels=range(grades), weights="quadratic", sample_weight=weights))


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean over the classes that occur of the share that is told right; NaN without a case."""
    from sklearn.metrics import recall_score

    given, said = _whole(truth, predicted)
    held = np.ones(given.size, bool) if weights is None else np.asarray(weights) > 0
    if not held.any():
        return nan
    occur = np.unique(given[held])
    return float(recall_score(given, said, labels=occur, average="macro", sample_weight=weights, zero_division=0.0))


def class_matthews(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Matthews' coefficient of several classes; NaN where truth or prediction holds one class alone."""
    from sklearn.metrics import matthews_corrcoef

    given, said = _whole(truth, predicted)
    held = np.ones(given.size, bool) if weights is None else np.asarray(weights) > 0
    if np.unique(given[held]).size < 2 or np.unique(said[held]).size < 2:
        return nan
    return float(matthews_corrcoef(given, said, sample_weight=weights))


def macro_f1(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean F1 over the classes that occur in truth or prediction; NaN without a case."""
    from sklearn.metrics import f1_score

    given, said = _whole(truth, predicted)
    held = np.ones(given.size, bool) if weights is None else np.asarray(weights) > 0
    if not held.any():
        return nan
    occur = np.union1d(given[held], said[held])
    return float(f1_score(given, said, labels=occur, average="macro", sample_weight=weights, zero_division=0.0))


def concordance(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Lin's concordance correlation coefficient, with population moments; NaN where nothing varies or differs.

    As torchmetrics' `concordance_corrcoef` up to its sample variance (n - 1). Source: L. I. Lin, Biometrics 45 (1989).
    """
    given, said = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    held = np.ones(given.size) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.size == 0 or held.sum() == 0:
        return nan
    centre = np.average([given, said], axis=1, weights=held)
    rest = np.stack([given, said]) - centre[:, None]
    spread = np.average(rest**2, axis=1, weights=held)
    below = spread.sum() + (centre[0] - centre[1]) ** 2
    return float(2 * np.average(rest[0] * rest[1], weights=held) / below) if below > 0 else nan


def determination(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> float:
    """R squared, as scikit-learn's `r2_score`; NaN where the truth does not vary."""
    from sklearn.metrics import r2_score

    given, said = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    held = np.ones(given.size, bool) if weights is None else np.asarray(weights) > 0
    if np.unique(given[held]).size < 2:
        return nan
    return float(r2_score(given, said, sample_weight=weights))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of agreement of two ways to measure.

    Args:
        bias: Mean of predicted less true.
        low: `bias - 1.96 s`, with the sample standard deviation s of the differences; None from one case.
        high: `bias + 1.96 s`; likewise.
    """

    bias: float
    low: float | None
    high: float | None


def limits_of_agreement(truth: ArrayLike, predicted: ArrayLike) -> Limits | None:
    """Bland and Altman's limits; None without a case.

    Source: J. M. Bland and D. G. Altman, "Statistical methods for assessing agreement between two methods of clinical
    measurement", Lancet 327 (1986).
    """
    differences = np.asarray(predicted, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
    if not differences.size:
        return None
    bias = float(differences.mean())
    if differences.size < 2:
        return Limits(bias=bias, low=None, high=None)
    reach = 1.96 * float(differences.std(ddof=1))
    return Limits(bias=bias, low=bias - reach, high=bias + reach)


def _whole(truth: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    given, said = np.asarray(truth).astype(np.intp), np.asarray(predicted).astype(np.intp)
    if given.shape != said.shape or given.ndim != 1:
        raise ValueError(f"truth {given.shape} and prediction {said.shape} must be two lists of one length")
    return given, said
