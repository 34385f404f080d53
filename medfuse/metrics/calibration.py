"""Making probabilities mean what they say: one temperature for the logits of a trained model."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

    given = np.asarray(labels, dtype=np.float64).ravel()
    scores = np.asarray(logits, dtype=np.float64).ravel()
    if given.shape != scores.shape:
        raise ValueError(f"{scores.size} logits and {given.size} labels")
    known = np.isfinite(given)
    truth, scores = given[known] > 0.5, scores[known]
    if not truth.any() or truth.all():
        return 1.0
    targets = _platt_targets(truth) if smooth else truth.astype(np.float64)

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = scores * np.exp(-log_temperature)
        return -float(np.mean(targets * log_expit(scaled) + (1 - targets) * log_expit(-scaled)))

    bounds = (np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))
    found = minimize_scalar(negative_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def apply_temperature(logits: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Probabilities of logits divided by a temperature; the same shape."""
    from scipy.special import expit

    return np.asarray(expit(np.asarray(logits, dtype=np.float64) / temperature))


def _platt_targets(truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    positives = int(truth.sum())
    negatives = truth.size - positives
    return np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
