"""From which probability on a finding is called present. Chosen on validation data, never on the test data."""

import numpy as np
from numpy.typing import ArrayLike


def choose_operating_point(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """The threshold of the largest Youden's J (sensitivity + specificity - 1).

    It lies halfway between the two neighbouring scores that it parts, so that a probability that differs in the last
    digits on another device stays on its side. Of several thresholds of equal J the most sensitive is taken. A study
    is called present when its probability is at least the threshold, as `Finding.present` does.

    Args:
        labels: Shape `(n,)`, True is PRESENT; UNCERTAIN and NOT_ASSESSED left out.
        probabilities: Shape `(n,)`.

    Returns:
        The threshold, or None unless both classes occur.

    Source: W. J. Youden, "Index for rating diagnostic tests", Cancer 3 (1950); scikit-learn's `roc_curve`.
    """
    from sklearn.metrics import roc_curve

    truth = np.asarray(labels, dtype=bool)
    scores = np.asarray(probabilities, dtype=np.float64)
    if not truth.any() or truth.all():
        return None
    false_positive_rate, true_positive_rate, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    youden = (true_positive_rate - false_positive_rate)[1:]  # the first threshold is infinite: nobody is called
    best = int(np.flatnonzero(np.isclose(youden, youden.max(), rtol=0, atol=1e-12))[-1])
    lowest_called = float(thresholds[1:][best])
    below = scores[scores < lowest_called]
    halfway = (lowest_called + float(below.max())) / 2 if below.size else lowest_called
    return halfway if not below.size or halfway > below.max() else lowest_called
