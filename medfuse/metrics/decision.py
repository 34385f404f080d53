"""What calling studies at a threshold is worth, in units of true positives (decision curves).

A reader who acts from a probability of `t` on takes `(1 - t) / t` false positives for one true positive. Net benefit is
`TP/n - FP/n * t/(1 - t)`; a model is worth using at `t` where it has more of it than calling every study, or none.

Source: A. J. Vickers and E. B. Elkin, "Decision curve analysis", Medical Decision Making 26 (2006). None of the
libraries at hand has it.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medfuse.metrics.weighted import weighted_net_benefit

THRESHOLDS = tuple(round(0.01 * step, 2) for step in range(1, 100))
"""Where a decision curve is drawn."""


def net_benefit(labels: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """Net benefit of calling at each threshold; NaN without a case.

    Args:
        labels: Shape `(n,)`, True is PRESENT.
        probabilities: Shape `(n,)`.
        thresholds: Shape `(t,)`, each in (0, 1).
    """
    truth = np.asarray(labels, dtype=bool)
    at = np.asarray(thresholds, dtype=np.float64)
    if at.size and (at.min() <= 0 or at.max() >= 1):
        raise ValueError("thresholds of a decision lie between 0 and 1")
    found = weighted_net_benefit(truth, probabilities, at.tolist())(np.ones((1, truth.size)))
    return np.asarray(found[0])


def net_benefit_of_all(labels: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """Net benefit of calling every study, at each threshold; that of calling none is 0."""
    truth = np.asarray(labels, dtype=bool)
    return net_benefit(truth, np.ones(truth.size), thresholds)
