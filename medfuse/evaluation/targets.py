"""The figures of one target: a class, a grade or a number."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Target, TargetKind
from medfuse.evaluation.cases import Case
from medfuse.evaluation.figures import TargetFigures
from medfuse.evaluation.resampling import Resampling
from medfuse.evaluation.segments import bland_altman
from medfuse.metrics import Estimate
from medfuse.metrics.agreement import (
    balanced_accuracy,
    class_matthews,
    concordance,
    determination,
    macro_f1,
    quadratic_kappa,
)
from medfuse.metrics.weighted import (
    WeightedStatistic,
    one_by_one,
    weighted_auroc,
    weighted_mean,
    weighted_root_mean_square,
)

Numbers = NDArray[np.float64]
Metric = Callable[[Numbers, Numbers, Numbers | None], float]
_NONE = "no scored study has a value that this figure is defined for"


def target_figures(target: Target, cases: Sequence[Case], resampling: Resampling) -> TargetFigures:
    """Everything that is measured of one target.

    Args:
        target: Of the label set.
        cases: All cases; those without a truth or without a prediction take no part.
        resampling: How intervals are made.
    """
    used = [case for case in cases if target.name in case.target_values and target.name in case.targets]
    truth = np.array([case.target_values[target.name] for case in used], dtype=np.float64)
    is_number = target.kind is TargetKind.NUMBER
    said = _said(target, used)
    measures = (
        number_measures(truth, said, used, resampling)
        if is_number
        else class_measures(target, truth, said, used, resampling)
    )
    studies = [case.study_instance_uid for case in used]
    return TargetFigures(
        name=target.name,
        kind=target.kind,
        classes=target.classes,
        unit=target.unit,
        known=len(used),
        measures=measures,
        confusion=() if is_number else _confusion(truth, said, len(target.classes)),
        agreement=bland_altman(studies, truth.tolist(), said.tolist()) if is_number else None,
    )


def number_measures(
    truth: Numbers, said: Numbers, cases: Sequence[Case], resampling: Resampling
) -> dict[str, Estimate]:
    """MAE, RMSE, bias, R2, concordance and Spearman's correlation."""
    rest = said - truth
    weigh = _weigher(cases, resampling)
    return {
        "MAE": weigh(weighted_mean(np.abs(rest))),
        "RMSE": weigh(weighted_root_mean_square(rest)),
        "bias": weigh(weighted_mean(rest)),
        "R2": weigh(_looped(determination, truth, said)),
        "concordance": weigh(_looped(concordance, truth, said)),
        "Spearman": resampling.estimate(
            lambda index: _spearman(truth[index], said[index]), [case.patient_key for case in cases], _NONE
        ),
    }


def class_measures(
    target: Target, truth: Numbers, said: Numbers, cases: Sequence[Case], resampling: Resampling
) -> dict[str, Estimate]:
    """Accuracy and its kin; for grades also quadratic kappa and the mean absolute error in grades."""
    weigh = _weigher(cases, resampling)
    measures = {
        "accuracy": weigh(weighted_mean((said == truth).astype(np.float64))),
        "balanced accuracy": weigh(_looped(balanced_accuracy, truth, said)),
        "macro F1": weigh(_looped(macro_f1, truth, said)),
        "MCC": weigh(_looped(class_matthews, truth, said)),
        "macro AUROC": weigh(_macro_auroc(target, truth, cases)),
    }
    if target.kind is TargetKind.GRADES:
        grades = len(target.classes)
        measures["quadratic kappa"] = weigh(one_by_one(lambda row: quadratic_kappa(truth, said, grades, row)))
        measures["MAE in grades"] = weigh(weighted_mean(np.abs(said - truth)))
    return measures


def main_measure(kind: TargetKind) -> str:
    """The measure that a kind of target is compared by."""
    return {TargetKind.GRADES: "quadratic kappa", TargetKind.CLASSES: "balanced accuracy"}.get(kind, "MAE")


def main_statistic(target: Target, cases: Sequence[Case]) -> WeightedStatistic:
    """That measure of cases that all have a truth and a prediction, as a figure of resamples."""
    truth = np.array([case.target_values[target.name] for case in cases], dtype=np.float64)
    said = _said(target, cases)
    if target.kind is TargetKind.NUMBER:
        return weighted_mean(np.abs(said - truth))
    if target.kind is TargetKind.GRADES:
        return one_by_one(lambda row: quadratic_kappa(truth, said, len(target.classes), row))
    return _looped(balanced_accuracy, truth, said)


def _weigher(cases: Sequence[Case], resampling: Resampling) -> Callable[[WeightedStatistic], Estimate]:
    return lambda statistic: resampling.weigh(statistic, cases, _NONE)


def _looped(metric: Metric, truth: Numbers, said: Numbers) -> WeightedStatistic:
    return one_by_one(lambda row: metric(truth, said, row))


def _said(target: Target, cases: Sequence[Case]) -> Numbers:
    """The predicted number, or the position of the most probable class or grade."""
    said = []
    for case in cases:
        answer = case.targets[target.name]
        if target.kind is TargetKind.NUMBER:
            said.append(float("nan") if answer.value is None else answer.value)
        else:
            said.append(float(np.argmax(answer.probabilities)))
    return np.array(said, dtype=np.float64)


def _macro_auroc(target: Target, truth: Numbers, cases: Sequence[Case]) -> WeightedStatistic:
    """Mean AUROC of each class against the rest, as scikit-learn's `roc_auc_score`, over the classes that occur."""
    each = [
        weighted_auroc(truth == position, [case.targets[target.name].probabilities[position] for case in cases])
        for position in range(len(target.classes))
    ]

    def of(weights: Numbers) -> Numbers:
        values = np.stack([one(weights) for one in each])
        known = np.isfinite(values)
        total = np.where(known, values, 0.0).sum(axis=0)
        found: Numbers = np.full(len(weights), np.nan)
        np.divide(total, known.sum(axis=0), out=found, where=known.any(axis=0))
        return found

    return of


def _confusion(truth: Numbers, said: Numbers, classes: int) -> tuple[tuple[int, ...], ...]:
    from sklearn.metrics import confusion_matrix

    if not truth.size:
        return tuple((0,) * classes for _ in range(classes))
    table = confusion_matrix(truth.astype(int), said.astype(int), labels=range(classes))
    return tuple(tuple(int(count) for count in row) for row in table)


def _spearman(truth: Numbers, said: Numbers) -> float:
    from scipy.stats import spearmanr

    if np.unique(truth).size < 2 or np.unique(said).size < 2:
        return float("nan")
    return float(spearmanr(truth, said).statistic)
