"""The same figures for groups of studies, and the largest gaps between them.

A group of few patients has a wide interval whatever the model does: it is shown and marked, and takes no part in the
gaps. The gap to look at first is the one that is largest beside its own standard error, not the one of the noisiest
measure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from medfuse.domain import LabelSet, LabelValue
from medfuse.evaluation.cases import Case
from medfuse.evaluation.figures import Gap, GroupFigures, Subgroups
from medfuse.evaluation.findings import NO_POINT, SHARES, Told, told
from medfuse.evaluation.groups import order_of
from medfuse.evaluation.resampling import Resampling, undefined
from medfuse.evaluation.segments import NO_DELINEATION
from medfuse.evaluation.targets import main_measure, main_statistic
from medfuse.metrics import Estimate
from medfuse.metrics.bootstrap import exact_share
from medfuse.metrics.weighted import (
    WeightedStatistic,
    difference_of,
    on_part,
    weighted_auroc,
    weighted_calibration_error,
    weighted_calls,
    weighted_mean,
)

FEWEST_PATIENTS = 20
"""A figure of fewer patients is not compared."""

FEWEST_OF_A_CLASS = 5
"""Nor is one that needs a class of which there are fewer patients."""

_LOWER_IS_BETTER = ("ECE", "MAE", "Brier")
_NOT_COMPARED = "ECE"
"""Shown for each group and not compared: by chance alone it is larger in a smaller group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measure of some cases: what its figure is made of.

    Args:
        name: `NAME, MEASURE`.
        cases: The cases that it is of.
        statistic: The figure of resamples of them.
        why: What to say when it is undefined.
        patients: Number of patients that it rests on, of the rarer class where it needs two.
        enough: Number of those that it takes to be compared.
    """

    name: str
    cases: Sequence[Case]
    statistic: WeightedStatistic | None
    why: str
    patients: int
    enough: int

    def estimate(self, resampling: Resampling) -> Estimate:
        """The figure with its interval."""
        if self.statistic is None:
            return undefined(self.cases, self.why)
        found = resampling.weigh(self.statistic, self.cases, self.why)
        is_share = self.name.rpartition(", ")[2] in SHARES
        return exact_share(found, resampling.confidence) if is_share else found

    @property
    def rests_on_few(self) -> bool:
        """Whether it is of too few patients to be compared."""
        return self.patients < self.enough


def subgroups_of(
    column: str,
    labels: LabelSet,
    cases: Sequence[Case],
    operating_points: Mapping[str, float | None],
    resampling: Resampling,
) -> Subgroups:
    """The figures of the groups of one column.

    Args:
        column: Key of `Case.groups`.
        labels: What is predicted.
        cases: The scored studies, each with a group.
        operating_points: Finding -> threshold, for cases without one of their own.
        resampling: How intervals are made.
    """
    values = order_of(case.groups[column] for case in cases)
    measured = {
        value: list(measures([case for case in cases if case.groups[column] == value], labels, operating_points))
        for value in values
    }
    groups = tuple(group_figures(value, measured[value], cases, column, resampling) for value in values)
    gaps = tuple(_gaps(measured, groups, resampling))
    return Subgroups(column=column, groups=groups, gaps=gaps, worst=_worst(gaps))


def group_figures(
    value: str,
    measured: Sequence[Measured],
    cases: Sequence[Case],
    column: str,
    resampling: Resampling,
    *,
    unseen: bool | None = None,
) -> GroupFigures:
    """The figures of one group."""
    inside = [case for case in cases if case.groups[column] == value]
    return GroupFigures(
        value=value,
        studies=len(inside),
        patients=_patients(inside),
        measures={each.name: each.estimate(resampling) for each in measured},
        few=tuple(each.name for each in measured if each.rests_on_few),
        unseen=unseen,
    )


def measures(
    cases: Sequence[Case], labels: LabelSet, operating_points: Mapping[str, float | None]
) -> Iterator[Measured]:
    """What groups are compared by: AUROC, sensitivity, specificity and ECE; Dice; the main measure of each target."""
    for name in labels.findings:
        yield from _of_finding(name, told(name, cases, operating_points.get(name)))
    for name in labels.segments:
        known = [(case, dice) for case in cases if (dice := case.dice.get(name)) is not None]
        used = [case for case, _ in known]
        yield _simple(f"{name}, Dice", used, weighted_mean([dice for _, dice in known]), NO_DELINEATION)
    for target in labels.targets:
        used = [case for case in cases if target.name in case.target_values and target.name in case.targets]
        measure = main_measure(target.kind)
        yield _simple(f"{target.name}, {measure}", used, main_statistic(target, used), "no study with a known value")


def is_lower_better(measure: str) -> bool:
    """Whether a measure of the name `NAME, MEASURE` is an error."""
    return measure.rpartition(", ")[2] in _LOWER_IS_BETTER


def _of_finding(name: str, used: Told) -> Iterator[Measured]:
    rarer = min(_patients(used.of(value).cases) for value in (LabelValue.PRESENT, LabelValue.ABSENT))
    auroc = weighted_auroc(used.truth, used.said)
    scarce = FEWEST_PATIENTS if rarer >= FEWEST_OF_A_CLASS else _patients(used.cases) + 1
    yield Measured(
        name=f"{name}, AUROC",
        cases=used.cases,
        statistic=auroc,
        why=used.one_class,
        patients=_patients(used.cases),
        enough=scarce,
    )
    for measure, value in (("sensitivity", LabelValue.PRESENT), ("specificity", LabelValue.ABSENT)):
        part = used.of(value)
        yield Measured(
            name=f"{name}, {measure}",
            cases=part.cases,
            statistic=None if part.called is None else weighted_calls(measure, part.truth, part.called),
            why=NO_POINT if part.called is None else part.one_class,
            patients=_patients(part.cases),
            enough=max(FEWEST_OF_A_CLASS, FEWEST_PATIENTS // 2),
        )
    yield _simple(
        f"{name}, ECE", used.cases, weighted_calibration_error(used.truth, used.said), "no study with a label"
    )


def _simple(name: str, cases: Sequence[Case], statistic: WeightedStatistic, why: str) -> Measured:
    return Measured(
        name=name, cases=cases, statistic=statistic, why=why, patients=_patients(cases), enough=FEWEST_PATIENTS
    )


def _gaps(
    measured: Mapping[str, Sequence[Measured]], groups: Sequence[GroupFigures], resampling: Resampling
) -> Iterator[Gap]:
    names = list(groups[0].measures) if groups else []
    for position, name in enumerate(names):
        if name.endswith(f", {_NOT_COMPARED}"):
            continue
        known = [
            (group.measures[name].value, group.value, measured[group.value][position])
            for group in groups
            if name not in group.few and group.measures[name].value is not None
        ]
        if len(known) < 2:
            continue
        ranked = sorted(known, key=lambda each: (each[0] or 0.0, each[1]), reverse=not is_lower_better(name))
        (_, best, of_best), (_, worst, of_worst) = ranked[0], ranked[-1]
        first, second = (of_worst, of_best) if is_lower_better(name) else (of_best, of_worst)
        yield Gap(
            measure=name,
            best=best,
            worst=worst,
            difference=_difference(first, second, resampling),
            pairs=comb(len(known), 2),
        )


def _difference(first: Measured, second: Measured, resampling: Resampling) -> Estimate:
    """One group's figure less another's; a patient with studies in both is drawn for both."""
    cases = [*first.cases, *second.cases]
    split = len(first.cases)
    if first.statistic is None or second.statistic is None:
        return undefined(cases, NO_POINT)
    statistic = difference_of(
        on_part(first.statistic, np.arange(split)), on_part(second.statistic, np.arange(split, len(cases)))
    )
    return resampling.weigh(statistic, cases, "a group has no figure")


def _worst(gaps: Sequence[Gap]) -> str:
    """The measure whose gap is largest beside half the width of its interval."""
    scores = {}
    for gap in gaps:
        low, high, value = gap.difference.low, gap.difference.high, gap.difference.value
        if value is not None and low is not None and high is not None and high > low:
            scores[gap.measure] = value / (high - low)
    return max(scores, key=lambda name: scores[name]) if scores else ""


def _patients(cases: Sequence[Case]) -> int:
    return len({case.patient_key for case in cases})
