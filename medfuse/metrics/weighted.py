"""Figures of many resamples at once: each row of a weight matrix says how often a resample holds each case.

A bootstrap asks for one figure two thousand times. scikit-learn makes one at a time, in a millisecond or so, and a
report holds hundreds of figures; as sums over a matrix all resamples of one take some hundredths of a second. What is
reported as a figure itself comes from scikit-learn or scipy where they have it; tests hold each function here to them,
to their `sample_weight` and to repeated cases.

Every function here gives a `WeightedStatistic` of its cases. A resample without a defined figure is NaN.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Weights = NDArray[np.float64]
"""Shape `(R, n)`: weight of each of n cases in each of R resamples, 0 or more."""

WeightedStatistic = Callable[[Weights], NDArray[np.float64]]
"""A figure of each resample, from weights of shape `(R, n)` to shape `(R,)`."""

NEWTON_STEPS = 30
LARGEST_STEP = 4.0
SMALLEST_PROBABILITY = 1e-9


def weighted_mean(values: ArrayLike) -> WeightedStatistic:
    """The mean of values, shape `(n,)`."""
    given = np.asarray(values, dtype=np.float64)

    def of(weights: Weights) -> NDArray[np.float64]:
        return _ratio(weights @ given, weights.sum(axis=1))

    return of


def weighted_root_mean_square(values: ArrayLike) -> WeightedStatistic:
    """The root of the mean of the squares of values, shape `(n,)`."""
    mean = weighted_mean(np.square(np.asarray(values, dtype=np.float64)))
    return lambda weights: np.sqrt(mean(weights))


def weighted_auroc(labels: ArrayLike, scores: ArrayLike) -> WeightedStatistic:
    """Area under the ROC curve; a tie counts half. As in `roc_auc_score`."""
    truth, order, starts = _sorted(labels, scores)

    def of(weights: Weights) -> NDArray[np.float64]:
        ordered = weights[:, order]
        present = _by_score(ordered * truth, starts)
        absent = _by_score(ordered * ~truth, starts)
        below = np.cumsum(absent, axis=1) - absent / 2
        return _ratio((present * below).sum(axis=1), present.sum(axis=1) * absent.sum(axis=1))

    return of


def weighted_average_precision(labels: ArrayLike, scores: ArrayLike) -> WeightedStatistic:
    """Average precision, the step-wise sum of `average_precision_score`; undefined unless both classes occur."""
    truth, order, starts = _sorted(labels, -np.asarray(scores, dtype=np.float64))

    def of(weights: Weights) -> NDArray[np.float64]:
        ordered = weights[:, order]
        present = _by_score(ordered * truth, starts)
        called = np.cumsum(_by_score(ordered, starts), axis=1)
        precision = _ratio(np.cumsum(present, axis=1), called, empty=0.0)
        total = present.sum(axis=1)
        value = _ratio((present * precision).sum(axis=1), total)
        return np.where(called[:, -1] > total, value, np.nan)

    return of


CALL_MEASURES = ("sensitivity", "specificity", "ppv", "npv", "f1", "mcc", "accuracy")


def weighted_calls(measure: str, labels: ArrayLike, called: ArrayLike) -> WeightedStatistic:
    """A measure of calls: one of `CALL_MEASURES`.

    Args:
        measure: Which.
        labels: Shape `(n,)`, True is PRESENT.
        called: Shape `(n,)`, True where the model calls it present.

    Raises:
        ValueError: There is no such measure.
    """
    if measure not in CALL_MEASURES:
        raise ValueError(f"{measure} is no measure of calls; there are {', '.join(CALL_MEASURES)}")
    truth, said = np.asarray(labels, dtype=bool), np.asarray(called, dtype=bool)
    cells = np.stack([truth & said, ~truth & said, ~truth & ~said, truth & ~said], axis=1).astype(np.float64)
    return lambda weights: measure_of_counts(measure, *(weights @ cells).T)


def measure_of_counts(
    measure: str,
    true_positives: NDArray[np.float64],
    false_positives: NDArray[np.float64],
    true_negatives: NDArray[np.float64],
    false_negatives: NDArray[np.float64],
) -> NDArray[np.float64]:
    """A measure of calls from the four counts, each of shape `(R,)`; NaN where its denominator is 0.

    Matthews' coefficient is undefined where a row or a column of the table is empty; scikit-learn says 0 there.
    """
    tp, fp, tn, fn = true_positives, false_positives, true_negatives, false_negatives
    if measure == "mcc":
        return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
    above, below = {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "f1": (2 * tp, 2 * tp + fp + fn),
        "accuracy": (tp + tn, tp + tn + fp + fn),
    }[measure]
    return _ratio(above, below)


def weighted_calibration_error(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 10) -> WeightedStatistic:
    """Expected calibration error over bins of equal width: as in torchmetrics' `binary_calibration_error`, norm l1."""
    truth = np.asarray(labels, dtype=np.float64)
    said = np.asarray(probabilities, dtype=np.float64)
    member = bin_membership(said, bins)
    excess = member * (truth - said)[:, None]
    return lambda weights: _ratio(np.abs(weights @ excess).sum(axis=1), weights.sum(axis=1))


def bin_membership(probabilities: ArrayLike, bins: int) -> NDArray[np.float64]:
    """Which of `bins` bins of equal width each probability is in, `[low, high)`, the last one closed: `(n, bins)`."""
    said = np.asarray(probabilities, dtype=np.float64)
    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.searchsorted(edges, said, side="right") - 1, 0, bins - 1)
    return np.eye(bins)[which]


def weighted_calibration_line(labels: ArrayLike, probabilities: ArrayLike, *, what: str) -> WeightedStatistic:
    """Slope, or intercept, of the logistic regression of the labels on the log-odds of the probabilities.

    Newton's method on all resamples side by side. Where the classes are parted perfectly the slope has no finite value.

    Args:
        labels: Shape `(n,)`, True is PRESENT.
        probabilities: Shape `(n,)`.
        what: `slope`: of the regression with a free slope and intercept, 1 when calibrated. `intercept`: with the slope
            held at 1 (calibration in the large), 0 when calibrated.

    Source: B. Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17 (2019).
    """
    from scipy.special import expit

    truth = np.asarray(labels, dtype=np.float64)
    odds = log_odds(probabilities)
    scale = float(np.abs(odds).max(initial=1.0))

    def of(weights: Weights) -> NDArray[np.float64]:
        intercept = np.zeros(len(weights))
        slope = np.ones(len(weights))
        with np.errstate(all="ignore"):
            for _ in range(NEWTON_STEPS):
                said = expit(intercept[:, None] + slope[:, None] * odds)
                rest, spread = weights * (truth - said), weights * said * (1 - said)
                g0, h00 = rest.sum(axis=1), spread.sum(axis=1)
                if what == "intercept":
                    step = np.clip(g0 / h00, -LARGEST_STEP, LARGEST_STEP)
                    intercept = intercept + step
                else:
                    g1, h01, h11 = rest @ odds, spread @ odds, spread @ odds**2
                    determinant = h00 * h11 - h01**2
                    steps = np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0]) / determinant
                    shrink = np.minimum(1, LARGEST_STEP / np.abs(steps).max(axis=0))
                    intercept, slope = intercept + shrink * steps[0], slope + shrink * steps[1]
                    step = steps[1]
                if not np.any(np.abs(step) > 1e-10):
                    break
            converged = np.abs(step) < 1e-6
        found = intercept if what == "intercept" else slope
        return np.where(converged & (np.abs(found) < 1e3 * scale) & _both(weights, truth > 0.5), found, np.nan)

    return of


def log_odds(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Log-odds of probabilities, which are kept off 0 and 1 by a billionth."""
    from scipy.special import logit

    said = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(logit(np.clip(said, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)))


def weighted_net_benefit(labels: ArrayLike, probabilities: ArrayLike, thresholds: Sequence[float]) -> WeightedStatistic:
    """Net benefit at each threshold: from weights `(R, n)` to `(R, thresholds)`. See `medfuse.metrics.decision`."""
    truth = np.asarray(labels, dtype=bool)
    at = np.asarray(thresholds, dtype=np.float64)
    called = np.asarray(probabilities, dtype=np.float64)[:, None] >= at
    worth = called * np.where(truth[:, None], 1.0, -at / (1 - at))
    return lambda weights: np.asarray(_ratio(weights @ worth, weights.sum(axis=1)[:, None]))


def weighted_area_under_risk(errors: ArrayLike, confidences: ArrayLike) -> WeightedStatistic:
    """Area under the curve of risk against coverage. See `medfuse.metrics.selective`."""
    wrong = np.asarray(errors, dtype=np.float64)
    order = np.argsort(-np.asarray(confidences, dtype=np.float64), kind="stable")
    starts = _starts(np.asarray(confidences, dtype=np.float64)[order])

    def of(weights: Weights) -> NDArray[np.float64]:
        ordered = weights[:, order]
        kept = _by_score(ordered, starts)
        risk = _ratio(np.cumsum(_by_score(ordered * wrong[order], starts), axis=1), np.cumsum(kept, axis=1), empty=0.0)
        return _ratio((risk * kept).sum(axis=1), kept.sum(axis=1))

    return of


def difference_of(first: WeightedStatistic, second: WeightedStatistic) -> WeightedStatistic:
    """One figure less another, on the same resamples."""
    return lambda weights: first(weights) - second(weights)


def on_part(statistic: WeightedStatistic, part: NDArray[np.intp]) -> WeightedStatistic:
    """A figure of some of the cases, as a figure of resamples of all."""
    return lambda weights: statistic(weights[:, part])


def one_by_one(metric: Callable[[NDArray[np.float64]], float]) -> WeightedStatistic:
    """A figure that a library makes of one resample, from its `sample_weight` of shape `(n,)`."""
    return lambda weights: np.array([metric(row) for row in weights], dtype=np.float64)


def _sorted(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.intp]]:
    """Truth by ascending score, the order, and where each distinct score starts."""
    given = np.asarray(scores, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    return np.asarray(labels, dtype=bool)[order], order, _starts(given[order])


def _starts(ordered: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if ordered.size else np.array([], int)


def _by_score(ordered: Weights, starts: NDArray[np.intp]) -> Weights:
    """Sums over the cases of each distinct score: `(R, distinct)`."""
    if len(starts) == ordered.shape[1]:
        return ordered
    return np.asarray(np.add.reduceat(ordered, starts, axis=1))


def _both(weights: Weights, truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    present = weights @ truth
    return np.asarray((present > 0) & (present < weights.sum(axis=1)))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64], empty: float = np.nan) -> NDArray[np.float64]:
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.full(above.shape, empty, dtype=np.float64), where=below > 0)
