"""How well probabilities part the studies with a finding from those without.

Every function takes `labels`, shape `(n,)` of truth values (True is PRESENT), and `probabilities`, shape `(n,)`.
UNCERTAIN and NOT_ASSESSED studies are left out before. Where a figure has no meaning it is NaN.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auroc(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Area under the ROC curve; NaN unless both classes occur. A tie counts half.

    scikit-learn's `roc_curve` and `auc`, which are `roc_auc_score` without the checks that double its time: a
    bootstrap calls this thousands of times.
    """
    from sklearn.metrics import auc, roc_curve

    truth, scores = _checked(labels, probabilities)
    if not _has_both_classes(truth):
        return float("nan")
    false_positive_rate, true_positive_rate, _ = roc_curve(truth, scores, drop_intermediate=False)
    return float(auc(false_positive_rate, true_positive_rate))


def average_precision(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Average precision (scikit-learn's step-wise sum, no interpolation); NaN unless both classes occur.

    With positives only it would be 1 for every model, and says nothing.
    """
    from sklearn.metrics import average_precision_score

    truth, scores = _checked(labels, probabilities)
    return float(average_precision_score(truth, scores)) if _has_both_classes(truth) else float("nan")


def sensitivity(labels: ArrayLike, probabilities: ArrayLike, *, operating_point: float) -> float:
    """Share of the studies with the finding whose probability reaches the operating point; NaN without any."""
    truth, scores = _checked(labels, probabilities)
    called = scores[truth] >= operating_point
    return float(called.mean()) if called.size else float("nan")


def specificity(labels: ArrayLike, probabilities: ArrayLike, *, operating_point: float) -> float:
    """Share of the studies without the finding whose probability stays below the operating point; NaN without any."""
    truth, scores = _checked(labels, probabilities)
    passed = scores[~truth] < operating_point
    return float(passed.mean()) if passed.size else float("nan")


def _has_both_classes(truth: NDArray[np.bool_]) -> bool:
    return bool(truth.any() and not truth.all())


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth = np.asarray(labels, dtype=bool)
    scores = np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != scores.shape:
        raise ValueError(f"labels {truth.shape} and probabilities {scores.shape} must be two lists of one length")
    return truth, scores
