"""Making probabilities mean what they say, and measuring whether they do.

A temperature is one parameter and changes no call at 0.5; Platt's line has a second one, which also moves probabilities
that are all too high or too low. Both are fitted on data that the model did not train on.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medfuse.metrics.weighted import bin_membership, weighted_calibration_error, weighted_calibration_line
from medfuse.seeding import stream

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
"""Bounds of the search."""


def fit_temperature(logits: ArrayLike, labels: ArrayLike, *, smooth: bool = True) -> float:
    """The temperature by which logits are divided so that the labels become most likely.

    One parameter, which changes no ranking. With `smooth`, the targets are Platt's (n+ + 1)/(n+ + 2) and 1/(n- + 2)
    instead of 1 and 0: on a small validation set that the model happens to part perfectly the likelihood would
    otherwise drive every probability to 0 or 1.

    Args:
        logits: Any shape, finite where labelled; of data that the model did not train on.
        labels: The same shape: 1 is PRESENT, 0 ABSENT, NaN is left out (UNCERTAIN, NOT_ASSESSED).
        smooth: Whether to use Platt's targets.

    Returns:
        Between `MIN_TEMPERATURE` and `MAX_TEMPERATURE`; 1 unless both classes occur.

    Source: C. Guo et al., "On calibration of modern neural networks", ICML 2017; J. Platt, "Probabilistic outputs for
    support vector machines", 1999; `scipy.optimize.minimize_scalar`.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_expit

    truth, scores = _known(logits, labels)
    if not truth.any() or truth.all():
        return 1.0
    targets = _platt_targets(truth) if smooth else truth.astype(np.float64)

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = scores * np.exp(-log_temperature)
        return -float(np.mean(targets * log_expit(scaled) + (1 - targets) * log_expit(-scaled)))

    bounds = (np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))
    found = minimize_scalar(negative_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def fit_platt(logits: ArrayLike, labels: ArrayLike, *, smooth: bool = True) -> tuple[float, float]:
    """Slope and intercept of the line through the logits that makes the labels most likely: Platt's scaling.

    A slope below `1 / MAX_TEMPERATURE` would turn the ranking or flatten every answer: then the slope is held there.

    Args:
        logits: Any shape, finite where labelled; of data that the model did not train on.
        labels: The same shape: 1 is PRESENT, 0 ABSENT, NaN is left out.
        smooth: Whether to use Platt's targets (see `fit_temperature`).

    Returns:
        `(slope, intercept)`, for `apply_platt`; `(1, 0)` unless both classes occur.

    Source: J. Platt, "Probabilistic outputs for support vector machines", 1999; scikit-learn's `LogisticRegression`.
    """
    from sklearn.linear_model import LogisticRegression

    truth, scores = _known(logits, labels)
    if not truth.any() or truth.all():
        return 1.0, 0.0
    targets = _platt_targets(truth) if smooth else truth.astype(np.float64)
    classes = np.repeat([1, 0], scores.size)
    line = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    line.fit(np.tile(scores, 2)[:, None], classes, sample_weight=np.concatenate([targets, 1 - targets]))
    slope, intercept = float(line.coef_[0, 0]), float(line.intercept_[0])
    if slope >= 1 / MAX_TEMPERATURE:
        return min(slope, 1 / MIN_TEMPERATURE), intercept
    held = 1 / MAX_TEMPERATURE
    return held, _intercept(held * scores, targets)


def apply_platt(logits: ArrayLike, slope: float, intercept: float) -> NDArray[np.float64]:
    """Probabilities of logits on Platt's line; the same shape."""
    from scipy.special import expit

    return np.asarray(expit(slope * np.asarray(logits, dtype=np.float64) + intercept))


def apply_temperature(logits: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Probabilities of logits divided by a temperature; the same shape."""
    from scipy.special import expit

    return np.asarray(expit(np.asarray(logits, dtype=np.float64) / temperature))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """The cases whose probability is in `[low, high)`, the last bin closed.

    Args:
        low: Lower end.
        high: Upper end.
        n: Number of cases.
        predicted: Their mean probability; None without any.
        observed: Share of them that is PRESENT; None without any.
        observed_low: Lower end of its Wilson interval of 95 %, studies taken one by one; None without any.
        observed_high: Upper end.
    """

    low: float
    high: float
    n: int
    predicted: float | None = None
    observed: float | None = None
    observed_low: float | None = None
    observed_high: float | None = None


def reliability(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """What was said against what was so, in bins of equal width.

    Args:
        labels: Shape `(n,)`, True is PRESENT.
        probabilities: Shape `(n,)`.
        bins: How many.

    Source: M. H. DeGroot and S. E. Fienberg, The Statistician 32 (1983); scipy's `binomtest` for the interval.
    """
    from scipy.stats import binomtest

    truth, said = np.asarray(labels, dtype=bool), np.asarray(probabilities, dtype=np.float64)
    member = bin_membership(said, bins) > 0
    made = []
    for number, inside in enumerate(member.T):
        of_bin = ReliabilityBin(low=number / bins, high=(number + 1) / bins, n=int(inside.sum()))
        if of_bin.n:
            interval = binomtest(int(truth[inside].sum()), of_bin.n).proportion_ci(method="wilson")
            of_bin = replace(
                of_bin,
                predicted=float(said[inside].mean()),
                observed=float(truth[inside].mean()),
                observed_low=float(interval.low),
                observed_high=float(interval.high),
            )
        made.append(of_bin)
    return tuple(made)


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 10) -> float:
    """Mean gap between what was said and what was so, over bins of equal width by their share; NaN without a case.

    It is above 0 by chance alone: compare it with `calibration_error_by_chance`.

    Source: M. P. Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    truth = np.asarray(labels, dtype=bool)
    return float(weighted_calibration_error(truth, probabilities, bins=bins)(np.ones((1, truth.size)))[0])


def calibration_error_by_chance(
    probabilities: ArrayLike, *, bins: int = 10, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Mean and 95th percentile of the calibration error that perfectly calibrated probabilities have at this n.

    Labels are drawn from the probabilities themselves. NaN without a case.

    Source: J. Bröcker and L. A. Smith, "Increasing the reliability of reliability diagrams", Weather and Forecasting 22
    (2007).
    """
    said = np.asarray(probabilities, dtype=np.float64)
    if not said.size:
        return float("nan"), float("nan")
    drawn = stream(seed, "calibration").random((draws, said.size)) < said
    gaps = np.abs((drawn - said) @ bin_membership(said, bins)).sum(axis=1) / said.size
    return float(gaps.mean()), float(np.percentile(gaps, 95))


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared difference of probability and truth (scikit-learn's `brier_score_loss`); NaN without a case."""
    from sklearn.metrics import brier_score_loss

    truth = np.asarray(labels, dtype=bool)
    return float(brier_score_loss(truth, probabilities, labels=[False, True])) if truth.size else float("nan")


def calibration_slope(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Slope of the labels' logistic regression on the log-odds; 1 when calibrated, below it when overconfident.

    NaN unless both classes occur and overlap. As statsmodels' `Logit`.
    """
    truth = np.asarray(labels, dtype=bool)
    return float(weighted_calibration_line(truth, probabilities, what="slope")(np.ones((1, truth.size)))[0])


def calibration_intercept(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Calibration in the large: log-odds by which the probabilities are too low on the whole; 0 when calibrated.

    NaN unless both classes occur. As statsmodels' binomial `GLM` with the log-odds as offset.
    """
    truth = np.asarray(labels, dtype=bool)
    return float(weighted_calibration_line(truth, probabilities, what="intercept")(np.ones((1, truth.size)))[0])


def _known(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    given = np.asarray(labels, dtype=np.float64).ravel()
    scores = np.asarray(logits, dtype=np.float64).ravel()
    if given.shape != scores.shape:
        raise ValueError(f"{scores.size} logits and {given.size} labels")
    known = np.isfinite(given)
    return given[known] > 0.5, scores[known]


def _intercept(offsets: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """The intercept by which the expected and the given number of PRESENT agree."""
    from scipy.optimize import brentq
    from scipy.special import expit

    reach = float(np.abs(offsets).max()) + 40.0
    return float(brentq(lambda shift: float((expit(offsets + shift) - targets).sum()), -reach, reach, xtol=1e-10))


def _platt_targets(truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    positives = int(truth.sum())
    negatives = truth.size - positives
    return np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
