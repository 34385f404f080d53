"""Runs against one another on the same cases: paired tests, corrected for their number, and what may be claimed.

The first run is the reference. AUROCs are compared by DeLong's test with patients as clusters, Dice by Wilcoxon's
signed ranks over patients, and the rest by a paired bootstrap by patient; each difference has its interval. All p
values of a comparison are corrected together by Holm's method: every further measure or run raises the bar.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import LabelSet, Target
from medfuse.errors import UsageError
from medfuse.evaluation.cases import Case
from medfuse.evaluation.findings import Told, told
from medfuse.evaluation.resampling import Resampling
from medfuse.evaluation.subgroups import is_lower_better
from medfuse.evaluation.targets import main_measure, main_statistic
from medfuse.metrics import Estimate, auroc, delong_test
from medfuse.metrics.bootstrap import resamples
from medfuse.metrics.weighted import (
    WeightedStatistic,
    difference_of,
    weighted_auroc,
    weighted_average_precision,
    weighted_calls,
    weighted_mean,
)

SIGNIFICANT = 0.05
Test = Literal["DeLong", "Wilcoxon", "paired bootstrap", ""]
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """One measure of one run less the same of the reference.

    Args:
        run: Name of the run.
        against: Name of the reference.
        measure: `NAME, MEASURE`.
        value: The run's figure; None where undefined.
        reference: The reference's.
        difference: The first less the second, with its bootstrap interval by patient.
        test: How the p value was made; empty without one.
        p: Two-sided, not corrected; None where undefined.
        p_corrected: By Holm's method, over all differences of the comparison.
        verdict: `better`, `worse` or `undecided` (from the corrected p value), `n/a` without one.
    """

    run: str
    against: str
    measure: str
    value: float | None
    reference: float | None
    difference: Estimate
    test: Test = ""
    p: float | None = None
    p_corrected: float | None = None
    verdict: str = "n/a"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCases:
    """A run as it is compared.

    Args:
        name: What it is called in the tables.
        cases: Its scored studies.
        label_set: What it predicts.
        operating_points: Finding -> threshold, for cases without one of their own.
        manifest_sha256: Hash of the manifest that the truth is of.
        notes: What a reader must know of its figures.
    """

    name: str
    cases: tuple[Case, ...]
    label_set: LabelSet
    operating_points: Mapping[str, float | None]
    manifest_sha256: str = ""
    notes: tuple[str, ...] = ()


def compare_runs(
    runs: Sequence[RunCases], resampling: Resampling, only: Sequence[str] = ()
) -> tuple[PairedDifference, ...]:
    """Every run less the first, over all measures that both have, corrected together.

    Args:
        runs: The reference first.
        resampling: How intervals are made.
        only: Measures to compare, e.g. `AUROC` or `nodule, AUROC`; empty for all. Fewer comparisons are corrected less,
            so that they are to be named before the figures are known.

    Raises:
        UsageError: The runs are of other studies, patients or labels, or have nothing in common.
    """
    if len(runs) < 2:
        raise UsageError("a comparison is of at least two runs")
    reference = runs[0]
    ordered = [replace(run, cases=_in_order(run, reference)) for run in runs]
    made = [each for run in ordered[1:] for each in _differences(run, ordered[0], resampling)]
    if not made:
        raise UsageError(f"{reference.name} and {runs[1].name} have no finding, segment or target in common")
    known = {name for each in made for name in (each.measure, each.measure.rpartition(", ")[2])}
    unknown = [name for name in only if name not in known]
    if unknown:
        short = dict.fromkeys(each.measure.rpartition(", ")[2] for each in made)
        raise UsageError(
            f"--measure {unknown[0]}: there is no such measure; there are {', '.join(short)}, and each of one name, as "
            f"in {made[0].measure!r}"
        )
    wanted = [each for each in made if not only or {each.measure, each.measure.rpartition(", ")[2]} & set(only)]
    return _corrected(wanted)


def check_same_cases(run: RunCases, reference: RunCases) -> None:
    """See that two runs were measured on the same studies with the same truth.

    Raises:
        UsageError: They were not; it says where they differ.
    """
    ours, theirs = ({case.study_instance_uid: case for case in each.cases} for each in (run, reference))
    for lacking, name, whose in (
        (theirs.keys() - ours.keys(), run.name, reference.name),
        (ours.keys() - theirs.keys(), reference.name, run.name),
    ):
        if lacking:
            shown = ", ".join(sorted(lacking)[:_SHOWN]) + (" ..." if len(lacking) > _SHOWN else "")
            raise UsageError(
                f"{name} lacks {len(lacking)} of the {len(theirs | ours)} studies, which {whose} has: {shown}; paired "
                "tests need the same cases: compare runs of one split (the same manifest, seed and test fold)"
            )
    both = [name for name in reference.label_set.findings if name in run.label_set.findings]
    for uid, case in ours.items():
        other = theirs[uid]
        changed = [name for name in both if case.label(name) is not other.label(name)]
        if changed or case.patient_key != other.patient_key:
            what = f"label of {changed[0]}" if changed else "patient"
            raise UsageError(
                f"study {uid} has another {what} in {run.name} than in {reference.name}; "
                "evaluate both with one manifest"
            )


def _in_order(run: RunCases, reference: RunCases) -> tuple[Case, ...]:
    """The cases of a run in the order of the reference."""
    check_same_cases(run, reference)
    by_uid = {case.study_instance_uid: case for case in run.cases}
    return tuple(by_uid[case.study_instance_uid] for case in reference.cases)


def _differences(run: RunCases, reference: RunCases, resampling: Resampling) -> list[PairedDifference]:
    pair = _Pair(run, reference, resampling)
    made: list[PairedDifference] = []
    for name in reference.label_set.findings:
        if name in run.label_set.findings:
            made += pair.of_finding(name)
    for name in reference.label_set.segments:
        if name in run.label_set.segments:
            made.append(pair.of_segment(name))
    ours = {target.name: target for target in run.label_set.targets}
    made += [pair.of_target(target) for target in reference.label_set.targets if ours.get(target.name) == target]
    return made


class _Pair:
    """One run and the reference, cases in the same order."""

    def __init__(self, run: RunCases, reference: RunCases, resampling: Resampling) -> None:
        self.run, self.reference, self.resampling = run, reference, resampling

    def of_finding(self, name: str) -> list[PairedDifference]:
        """AUROC by DeLong; average precision, Brier, sensitivity and specificity by bootstrap."""
        both = [
            (ours, theirs)
            for ours, theirs in zip(self.run.cases, self.reference.cases, strict=True)
            if name in ours.probabilities and name in theirs.probabilities
        ]
        ours = told(name, [one for one, _ in both], self.run.operating_points.get(name))
        theirs = told(name, [other for _, other in both], self.reference.operating_points.get(name))
        keys = [case.patient_key for case in ours.cases]
        tested = delong_test(ours.truth, ours.said, theirs.said, keys) if ours.cases else None
        area = self._bootstrapped(f"{name}, AUROC", ours.cases, *_statistics(weighted_auroc, ours, theirs))
        area = replace(
            area,
            value=_finite(auroc(ours.truth, ours.said)),
            reference=_finite(auroc(theirs.truth, theirs.said)),
            test="DeLong" if tested else "",
            p=tested.p if tested else None,
        )
        precision = _statistics(weighted_average_precision, ours, theirs)
        brier = tuple(weighted_mean((each.said - each.truth) ** 2) for each in (ours, theirs))
        made = [
            area,
            self._bootstrapped(f"{name}, average precision", ours.cases, *precision),
            self._bootstrapped(f"{name}, Brier", ours.cases, brier[0], brier[1]),
        ]
        if ours.called is not None and theirs.called is not None:
            for measure, part in (("sensitivity", ours.truth), ("specificity", ~ours.truth)):
                first, second = (
                    weighted_calls(measure, ours.truth[part], called[part]) for called in (ours.called, theirs.called)
                )
                cases = [ours.cases[n] for n in np.flatnonzero(part)]
                made.append(self._bootstrapped(f"{name}, {measure}", cases, first, second))
        return made

    def of_segment(self, name: str) -> PairedDifference:
        """Mean Dice, by Wilcoxon's signed ranks over patients."""
        known = [
            (case, ours, theirs)
            for case, other in zip(self.run.cases, self.reference.cases, strict=True)
            if (ours := case.dice.get(name)) is not None and (theirs := other.dice.get(name)) is not None
        ]
        cases = [case for case, _, _ in known]
        first, second = weighted_mean([dice for _, dice, _ in known]), weighted_mean([dice for _, _, dice in known])
        made = self._bootstrapped(f"{name}, Dice", cases, first, second)
        p = wilcoxon_by_patient([o - t for _, o, t in known], [case.patient_key for case in cases])
        return replace(made, test="Wilcoxon" if p is not None else "", p=p)

    def of_target(self, target: Target) -> PairedDifference:
        """The main measure of its kind, by bootstrap."""
        name = target.name
        used = [
            (ours, theirs)
            for ours, theirs in zip(self.run.cases, self.reference.cases, strict=True)
            if name in ours.target_values and name in ours.targets and name in theirs.targets
        ]
        statistics = [main_statistic(target, [pair[which] for pair in used]) for which in (0, 1)]
        return self._bootstrapped(f"{name}, {main_measure(target.kind)}", [ours for ours, _ in used], *statistics)

    def _bootstrapped(
        self, measure: str, cases: Sequence[Case], first: WeightedStatistic, second: WeightedStatistic
    ) -> PairedDifference:
        statistic = difference_of(first, second)
        keys = [case.patient_key for case in cases]
        p = bootstrap_p(statistic, keys, draws=self.resampling.draws, seed=self.resampling.seed)
        whole = np.ones((1, len(cases)))
        return PairedDifference(
            run=self.run.name,
            against=self.reference.name,
            measure=measure,
            value=_finite(first(whole)[0]) if cases else None,
            reference=_finite(second(whole)[0]) if cases else None,
            difference=self.resampling.weigh(statistic, cases, "undefined on these cases"),
            test="paired bootstrap" if p is not None else "",
            p=p,
        )


def bootstrap_p(
    statistic: WeightedStatistic, patient_keys: Sequence[str], *, draws: int = 2000, seed: int = 0
) -> float | None:
    """Two-sided p value of a difference: twice the smaller share of resamples on either side of zero.

    One resample is added to both counts, so that it is never below `2 / (draws + 1)`. None below two patients, and
    where half of the resamples or more are undefined.

    Source: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application" (1997), chapters 4 and 5.
    """
    if len(set(patient_keys)) < 2:
        return None
    drawn = np.concatenate([statistic(part) for part in resamples(patient_keys, draws=draws, seed=seed)])
    known = drawn[np.isfinite(drawn)]
    if known.size <= draws / 2:
        return None
    below, above = (known <= 0).sum(), (known >= 0).sum()
    return float(min(1.0, 2 * (min(below, above) + 1) / (known.size + 1)))


def wilcoxon_by_patient(differences: Sequence[float], patient_keys: Sequence[str]) -> float | None:
    """P value of scipy's `wilcoxon` over the mean difference of each patient; 1 where all are 0, None without any."""
    from scipy.stats import wilcoxon

    by_patient: dict[str, list[float]] = {}
    for key, value in zip(patient_keys, differences, strict=True):
        by_patient.setdefault(key, []).append(value)
    means = np.array([np.mean(values) for values in by_patient.values()])
    if not means.size:
        return None
    return 1.0 if not np.any(means) else float(wilcoxon(means).pvalue)


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """P values corrected by Holm's method, in their order: statsmodels' `multipletests`.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(p_values, method="holm")[1], dtype=np.float64) if p_values else np.empty(0)


def claim(one: PairedDifference, comparisons: int) -> str:
    """What may be claimed of a difference, in one sentence."""
    difference = one.difference
    if one.p_corrected is None or difference.value is None:
        return f"{one.measure}: nothing may be claimed; {difference.reason or 'no test is possible on these cases'}."
    interval = ""
    if difference.low is not None and difference.high is not None:
        interval = f", interval {difference.low:+.3f} to {difference.high:+.3f}"
    found = (
        f"{difference.value:+.3f}{interval}; {one.test}, p {shown_p(one.p)}, and {shown_p(one.p_corrected)} after "
        f"Holm's correction for {comparisons} comparisons"
    )
    on = f"on these {difference.n} studies of {difference.patients} patients"
    if one.verdict == "undecided":
        return (
            f"{one.measure}: no difference between {one.run} and {one.against} may be claimed {on} ({found}); "
            "this does not show that they are equal."
        )
    return f"{one.measure}: {one.run} is {one.verdict} than {one.against} {on} ({found})."


def _corrected(made: Sequence[PairedDifference]) -> tuple[PairedDifference, ...]:
    tested = [n for n, one in enumerate(made) if one.p is not None]
    corrected = dict(zip(tested, holm([p for one in made if (p := one.p) is not None]).tolist(), strict=True))
    return tuple(
        replace(one, p_corrected=corrected.get(n), verdict=_verdict(one, corrected.get(n)))
        for n, one in enumerate(made)
    )


def _verdict(one: PairedDifference, corrected: float | None) -> str:
    value = one.difference.value
    if corrected is None or value is None:
        return "n/a"
    if corrected >= SIGNIFICANT:
        return "undecided"
    return "better" if (value > 0) is not is_lower_better(one.measure) else "worse"


def _statistics(
    make: Callable[[NDArray[np.bool_], NDArray[np.float64]], WeightedStatistic], ours: Told, theirs: Told
) -> tuple[WeightedStatistic, WeightedStatistic]:
    return make(ours.truth, ours.said), make(theirs.truth, theirs.said)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def shown_p(value: float | None) -> str:
    """A p value as text."""
    return "n/a" if value is None else "< 0.001" if value < 0.001 else f"= {value:.3f}"
