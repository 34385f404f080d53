"""The figures of one finding."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import LabelValue
from medfuse.evaluation.cases import Case
from medfuse.evaluation.compare import TOLD
from medfuse.evaluation.figures import (
    CalibrationFigures,
    Calls,
    ConformalFigures,
    Curve,
    FindingFigures,
    SelectiveFigures,
)
from medfuse.evaluation.resampling import Resampling, undefined
from medfuse.metrics import (
    Estimate,
    auroc,
    average_precision,
    brier_score,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    reliability,
    risk_coverage,
)
from medfuse.metrics.bootstrap import exact_share, resamples
from medfuse.metrics.calibration import calibration_error_by_chance
from medfuse.metrics.decision import THRESHOLDS, net_benefit, net_benefit_of_all
from medfuse.metrics.weighted import (
    log_odds,
    weighted_area_under_risk,
    weighted_auroc,
    weighted_average_precision,
    weighted_calibration_error,
    weighted_calibration_line,
    weighted_calls,
    weighted_mean,
    weighted_net_benefit,
)

NO_POINT = "the checkpoint has no operating point for this finding (none is chosen where validation holds one class)"
SHARES = ("sensitivity", "specificity", "ppv", "npv")
"""Measures that are shares of studies: they have an exact interval where all of them are right, or none."""

_NO_CLASSES = "the slope is undefined where the classes do not overlap or one is lacking"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Told:
    """The cases that tell a finding, and what was said of it.

    Args:
        cases: With a label that takes part, and a probability.
        truth: Shape `(n,)`.
        said: Probabilities.
        points: Operating point of each; None unless all have one.
        one_class: Why a figure of two classes is undefined, should it be.
    """

    cases: tuple[Case, ...]
    truth: NDArray[np.bool_]
    said: NDArray[np.float64]
    points: NDArray[np.float64] | None
    one_class: str

    @property
    def called(self) -> NDArray[np.bool_] | None:
        """Which cases are called present; None without operating points."""
        return None if self.points is None else self.said >= self.points

    def of(self, value: LabelValue) -> "Told":
        """The cases of one label."""
        return self.part(self.truth == (value is LabelValue.PRESENT), f"no study is labelled {value}")

    def part(self, mask: NDArray[np.bool_], why: str) -> "Told":
        """Some of the cases, and why a figure of them is undefined when there are none."""
        part = np.flatnonzero(mask)
        return Told(
            cases=tuple(self.cases[n] for n in part),
            truth=self.truth[part],
            said=self.said[part],
            points=None if self.points is None else self.points[part],
            one_class=why,
        )


def told(name: str, cases: Sequence[Case], of_all: float | None = None) -> Told:
    """The cases that tell a finding.

    Args:
        name: Of the finding.
        cases: All cases.
        of_all: Operating point of the model, for cases that have none of their own.
    """
    used = tuple(case for case in cases if case.label(name) in TOLD and name in case.probabilities)
    points = [case.operating_points.get(name, of_all) for case in used]
    known = [point for point in points if point is not None]
    has_points = len(known) == len(used) and (of_all is not None or any(name in c.operating_points for c in cases))
    return Told(
        cases=used,
        truth=np.array([case.label(name) is LabelValue.PRESENT for case in used], dtype=bool),
        said=np.array([case.probabilities[name] for case in used], dtype=np.float64),
        points=np.array(known, dtype=np.float64) if has_points else None,
        one_class=why_one_class(Counter(case.label(name) for case in cases)),
    )


def finding_figures(
    name: str, cases: Sequence[Case], resampling: Resampling, *, point: float | None, calibrated: bool
) -> FindingFigures:
    """Everything that is measured of one finding.

    Args:
        name: Of the finding.
        cases: All cases.
        resampling: How intervals are made.
        point: Operating point of the model, where the cases have none of their own.
        calibrated: Whether the probabilities are calibrated.
    """
    counts = Counter(case.label(name) for case in cases)
    used = told(name, cases, point)
    roc, precision_recall = roc_curves(used)
    decision, decision_all = decision_curves(used, resampling)
    return FindingFigures(
        name=name,
        present=counts[LabelValue.PRESENT],
        absent=counts[LabelValue.ABSENT],
        uncertain=counts[LabelValue.UNCERTAIN],
        not_assessed=counts[LabelValue.NOT_ASSESSED],
        operating_point=point,
        calibrated=calibrated,
        auroc=auroc_of(used, resampling),
        average_precision=average_precision_of(used, resampling),
        sensitivity=sensitivity_of(used, resampling),
        specificity=specificity_of(used, resampling),
        ppv=_predictive_value("ppv", used, resampling),
        npv=_predictive_value("npv", used, resampling),
        f1=of_calls("f1", used, resampling),
        mcc=of_calls("mcc", used, resampling),
        calls=_calls(used),
        calibration=calibration_of(used, used.said, resampling),
        uncalibrated=_before_scaling(name, used, resampling),
        roc=roc,
        precision_recall=precision_recall,
        decision=decision,
        decision_all=decision_all,
        selective=selective_of(used, resampling),
        conformal=conformal_of(name, used, resampling),
    )


def auroc_of(used: Told, resampling: Resampling) -> Estimate:
    """Area under the ROC curve."""
    value = auroc(used.truth, used.said)
    return resampling.weigh(weighted_auroc(used.truth, used.said), used.cases, used.one_class, value)


def average_precision_of(used: Told, resampling: Resampling) -> Estimate:
    """Average precision."""
    value = average_precision(used.truth, used.said)
    return resampling.weigh(weighted_average_precision(used.truth, used.said), used.cases, used.one_class, value)


def sensitivity_of(used: Told, resampling: Resampling) -> Estimate:
    """Sensitivity, each case at the operating point of the model that scored it."""
    return of_calls("sensitivity", used.of(LabelValue.PRESENT), resampling)


def specificity_of(used: Told, resampling: Resampling) -> Estimate:
    """Specificity, likewise."""
    return of_calls("specificity", used.of(LabelValue.ABSENT), resampling)


def of_calls(measure: str, used: Told, resampling: Resampling) -> Estimate:
    """A measure of the calls (see `weighted_calls`)."""
    if used.called is None:
        return undefined(used.cases, NO_POINT)
    why = used.one_class
    if measure == "mcc" and used.truth.any() and not used.truth.all():
        why = "every study is called alike"
    found = resampling.weigh(weighted_calls(measure, used.truth, used.called), used.cases, why)
    return exact_share(found, resampling.confidence) if measure in SHARES else found


def _predictive_value(measure: str, used: Told, resampling: Resampling) -> Estimate:
    """PPV over the studies that are called present, NPV over the others."""
    if used.called is None:
        return undefined(used.cases, NO_POINT)
    of_called = measure == "ppv"
    why = "no study is called present" if of_called else "every study is called present"
    return of_calls(measure, used.part(used.called == of_called, why), resampling)


def calibration_of(used: Told, said: NDArray[np.float64], resampling: Resampling) -> CalibrationFigures:
    """Whether probabilities of the cases mean what they say.

    Args:
        used: The cases.
        said: Their probabilities, scaled or not.
        resampling: How intervals are made.
    """
    truth, cases = used.truth, used.cases
    nobody = "no study with a label and a probability"
    chance, chance_95 = calibration_error_by_chance(said, seed=resampling.seed)

    def line(what: str, value: float, why: str) -> Estimate:
        return resampling.weigh(weighted_calibration_line(truth, said, what=what), cases, why, value)

    return CalibrationFigures(
        brier=resampling.weigh(weighted_mean((said - truth) ** 2), cases, nobody, brier_score(truth, said)),
        ece=resampling.weigh(
            weighted_calibration_error(truth, said), cases, nobody, expected_calibration_error(truth, said)
        ),
        ece_by_chance=chance if np.isfinite(chance) else None,
        ece_by_chance_95=chance_95 if np.isfinite(chance_95) else None,
        slope=line("slope", calibration_slope(truth, said), _NO_CLASSES),
        intercept=line("intercept", calibration_intercept(truth, said), used.one_class),
        bins=reliability(truth, said),
    )


def _before_scaling(name: str, used: Told, resampling: Resampling) -> CalibrationFigures | None:
    before = [case.uncalibrated[name] for case in used.cases if name in case.uncalibrated]
    if not before or len(before) < len(used.cases):
        return None
    return calibration_of(used, np.array(before, dtype=np.float64), resampling)


def roc_curves(used: Told) -> tuple[Curve | None, Curve | None]:
    """The ROC and the precision-recall curve; None unless both classes occur."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    if not used.truth.any() or used.truth.all():
        return None, None
    false_positive_rate, sensitivity, thresholds = roc_curve(used.truth, used.said)
    roc = Curve(
        x=_numbers(false_positive_rate),
        y=_numbers(sensitivity),
        thresholds=(None, *_numbers(thresholds[1:])),  # scikit-learn's first threshold is infinite
    )
    precision, recall, thresholds = precision_recall_curve(used.truth, used.said)
    return roc, Curve(x=_numbers(recall), y=_numbers(precision), thresholds=(*_numbers(thresholds), None))


def decision_curves(used: Told, resampling: Resampling) -> tuple[Curve | None, Curve | None]:
    """Net benefit of the model, with percentile intervals by patient, and of calling all; None without a case."""
    if not used.cases:
        return None, None
    keys = [case.patient_key for case in used.cases]
    statistic = weighted_net_benefit(used.truth, used.said, THRESHOLDS)
    drawn = np.concatenate([statistic(part) for part in resamples(keys, draws=resampling.draws, seed=resampling.seed)])
    tail = 50 * (1 - resampling.confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    of_model = net_benefit(used.truth, used.said, THRESHOLDS)
    return (
        Curve(x=THRESHOLDS, y=_numbers(of_model), y_low=_numbers(low), y_high=_numbers(high)),
        Curve(x=THRESHOLDS, y=_numbers(net_benefit_of_all(used.truth, THRESHOLDS))),
    )


def selective_of(used: Told, resampling: Resampling) -> SelectiveFigures | None:
    """Risk against coverage of the calls; None without an operating point or without a case."""
    if used.points is None or used.called is None or not used.cases:
        return None
    wrong = (used.called != used.truth).astype(np.float64)
    confidence = np.round(np.abs(log_odds(used.said) - log_odds(used.points)), 9)  # 0.1 and 0.9 are as sure
    curve = risk_coverage(wrong, confidence)
    return SelectiveFigures(
        curve=Curve(x=_numbers(curve.coverage), y=_numbers(curve.risk), thresholds=_numbers(curve.confidence)),
        area=resampling.weigh(weighted_area_under_risk(wrong, confidence), used.cases, "no case"),
        risk=resampling.weigh(weighted_mean(wrong), used.cases, "no case"),
    )


def conformal_of(name: str, used: Told, resampling: Resampling) -> ConformalFigures | None:
    """Coverage and size of the conformal sets; None where the checkpoint has none."""
    with_set = [n for n, case in enumerate(used.cases) if name in case.prediction_sets]
    if not with_set:
        return None
    cases = [used.cases[n] for n in with_set]
    truth = used.truth[with_set]
    sets = [case.prediction_sets[name] for case in cases]
    covered = np.array([case.label(name) in each for case, each in zip(cases, sets, strict=True)], dtype=bool)
    size = np.array([len(each) for each in sets])

    def share(values: NDArray[np.bool_], among: NDArray[np.bool_] | None, why: str) -> Estimate:
        part = np.arange(len(cases)) if among is None else np.flatnonzero(among)
        found = resampling.weigh(weighted_mean(values[part]), [cases[n] for n in part], why)
        return exact_share(found, resampling.confidence)

    return ConformalFigures(
        coverage=share(covered, None, "no study has a set"),
        coverage_present=share(covered, truth, f"no study is labelled {LabelValue.PRESENT}"),
        coverage_absent=share(covered, ~truth, f"no study is labelled {LabelValue.ABSENT}"),
        sure=share(size == 1, None, "no study has a set"),
        unsure=share(size > 1, None, "no study has a set"),
        empty=share(size == 0, None, "no study has a set"),
        sure_and_right=share(covered, size == 1, "no set holds one value"),
    )


def why_one_class(counts: Mapping[LabelValue, int]) -> str:
    """Why a figure of two classes is undefined, from the labels of all cases."""
    lacking = [value for value in (LabelValue.PRESENT, LabelValue.ABSENT) if not counts.get(value)]
    return f"no study is labelled {' or '.join(lacking)}" if lacking else "no scored study of both classes"


def _calls(used: Told) -> Calls | None:
    if used.called is None:
        return None
    truth, called = used.truth, used.called
    return Calls(
        true_positives=int((truth & called).sum()),
        false_positives=int((~truth & called).sum()),
        true_negatives=int((~truth & ~called).sum()),
        false_negatives=int((truth & ~called).sum()),
    )


def _numbers(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.asarray(values, dtype=np.float64).tolist())
