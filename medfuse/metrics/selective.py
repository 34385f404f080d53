"""Answering only where the model is sure: risk against coverage.

Source: R. El-Yaniv and Y. Wiener, "On the foundations of noise-free selective classification", JMLR 11 (2010);
Y. Geifman et al., "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019. None of the libraries
at hand has it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RiskCoverage:
    """Risk where the share `coverage` of the cases is answered, the surest first; ties are answered together.

    Args:
        coverage: Shape `(c,)`, ascending, the last one 1.
        risk: Mean error of the answered cases, shape `(c,)`.
        confidence: The least confidence that is answered, shape `(c,)`.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    confidence: NDArray[np.float64]


def risk_coverage(errors: ArrayLike, confidences: ArrayLike) -> RiskCoverage:
    """The curve.

    Args:
        errors: What each case costs, e.g. 1 for a wrong call and 0 for a right one; shape `(n,)`.
        confidences: How sure the model is of each; larger is surer; shape `(n,)`.
    """
    wrong, sure = np.asarray(errors, dtype=np.float64), np.asarray(confidences, dtype=np.float64)
    if wrong.shape != sure.shape or wrong.ndim != 1:
        raise ValueError(f"errors {wrong.shape} and confidences {sure.shape} must be two lists of one length")
    order = np.argsort(-sure, kind="stable")
    answered = np.arange(1, wrong.size + 1)
    last = np.concatenate([sure[order][1:] != sure[order][:-1], [True]]) if wrong.size else np.array([], bool)
    risk = np.cumsum(wrong[order]) / answered
    return RiskCoverage(coverage=answered[last] / max(1, wrong.size), risk=risk[last], confidence=sure[order][last])
