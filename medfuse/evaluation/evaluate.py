"""Figures from cases: per finding and per segment, each with its interval by patient."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import LabelSet, LabelValue, ModelIdentity, Rejected
from medfuse.evaluation.cases import Case
from medfuse.evaluation.compare import TOLD, case_mean_dice
from medfuse.evaluation.report import EvaluationReport, FindingFigures, SegmentFigures
from medfuse.metrics import (
    Estimate,
    auroc,
    average_precision,
    estimate_by_patient,
    sensitivity,
    specificity,
)

Metric = Callable[[NDArray[np.bool_], NDArray[np.float64]], float]
Figures = TypeVar("Figures", FindingFigures, SegmentFigures)

_NO_POINT = "the checkpoint has no operating point for this finding (none is chosen where validation holds one class)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How intervals are made: number of resamples, seed, confidence."""

    draws: int = 2000
    seed: int = 0
    confidence: float = 0.95

    def estimate(self, statistic: Callable[[NDArray[np.intp]], float], keys: Sequence[str], undefined: str) -> Estimate:
        """A figure with its interval by patient; see `estimate_by_patient`."""
        return estimate_by_patient(
            statistic, keys, draws=self.draws, seed=self.seed, confidence=self.confidence, undefined=undefined
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is measured, on what.

    Args:
        label_set: Findings and segments to report, in order.
        split: Name of the split that the cases are of; `train` and `validation` are marked in the notes.
        operating_points: Finding -> threshold chosen on validation data; None, or absent, where there is none.
        calibrated: Findings whose probabilities were calibrated on data that the model did not train on.
        model: Who is measured; None for probabilities of another origin.
        manifest_sha256: Hash of the manifest file, hex.
        without: Inputs that were kept from the model.
        shuffled_reports: Whether each study was read with the report of another patient.
    """

    label_set: LabelSet
    split: str
    operating_points: Mapping[str, float | None] = field(default_factory=dict)
    calibrated: frozenset[str] = frozenset()
    model: ModelIdentity | None = None
    manifest_sha256: str = ""
    without: tuple[str, ...] = ()
    shuffled_reports: bool = False


def evaluate(
    cases: Sequence[Case],
    subject: Subject,
    *,
    rejected: Sequence[Rejected] = (),
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    on_progress: Callable[[], None] | None = None,
) -> EvaluationReport:
    """Measure predictions against the truth.

    UNCERTAIN and NOT_ASSESSED labels take no part and are counted. An undefined figure is None with a reason. No
    threshold is chosen here: the operating points are the subject's.

    Args:
        cases: The scored studies.
        subject: What is measured.
        rejected: Studies of the split without a result.
        draws: Number of bootstrap resamples.
        seed: Of the resampling.
        confidence: Of the intervals.
        on_progress: Called after each finding and each segment.
    """
    resampling = Resampling(draws=draws, seed=seed, confidence=confidence)
    tell = on_progress or (lambda: None)
    findings = _each(subject.label_set.findings, lambda name: _finding(name, cases, resampling, subject), tell)
    segments = _each(subject.label_set.segments, lambda name: _segment(name, cases, resampling), tell)
    leakage = subject.model is not None and subject.model.leakage_allowed
    return EvaluationReport(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        model=subject.model,
        split=subject.split,
        manifest_sha256=subject.manifest_sha256,
        leakage_allowed=leakage,
        studies=len(cases),
        patients=len({case.patient_key for case in cases}),
        confidence=confidence,
        draws=draws,
        seed=seed,
        notes=_notes(subject, leakage=leakage, rejected=len(rejected)),
        findings=findings,
        segments=segments,
        mean_dice=mean_dice(subject.label_set.segments, cases, resampling),
        rejected=tuple(rejected),
        cases=tuple(cases),
        without=subject.without,
    )


def _each(names: Sequence[str], figures: Callable[[str], Figures], tell: Callable[[], None]) -> tuple[Figures, ...]:
    made = []
    for name in names:
        made.append(figures(name))
        tell()
    return tuple(made)


def finding_auroc(name: str, cases: Sequence[Case], resampling: Resampling) -> Estimate:
    """The AUROC of one finding over the cases that tell it."""
    one_class = _why_one_class(Counter(case.label(name) for case in cases))
    return _classification(auroc, name, _telling(name, cases), resampling, one_class)


def segment_dice(name: str, cases: Sequence[Case], resampling: Resampling) -> Estimate:
    """The mean Dice of one segment over the cases that have it."""
    return _mean([(case, case.dice.get(name)) for case in cases], resampling)


def mean_dice(segments: Sequence[str], cases: Sequence[Case], resampling: Resampling) -> Estimate | None:
    """Mean over cases of the mean over segments, for cases that have all of them; None for no segments."""
    return _mean([(case, case_mean_dice(case, segments)) for case in cases], resampling) if segments else None


def _finding(name: str, cases: Sequence[Case], resampling: Resampling, subject: Subject) -> FindingFigures:
    counts = Counter(case.label(name) for case in cases)
    used = _telling(name, cases)
    one_class = _why_one_class(counts)
    point = subject.operating_points.get(name)
    called, passed = (
        _at_point(metric, value, name, used, point, resampling)
        for metric, value in ((sensitivity, LabelValue.PRESENT), (specificity, LabelValue.ABSENT))
    )
    return FindingFigures(
        name=name,
        present=counts[LabelValue.PRESENT],
        absent=counts[LabelValue.ABSENT],
        uncertain=counts[LabelValue.UNCERTAIN],
        not_assessed=counts[LabelValue.NOT_ASSESSED],
        operating_point=point,
        calibrated=name in subject.calibrated,
        auroc=finding_auroc(name, cases, resampling),
        average_precision=_classification(average_precision, name, used, resampling, one_class),
        sensitivity=called,
        specificity=passed,
    )


def _telling(name: str, cases: Sequence[Case]) -> list[Case]:
    """The cases with a label that takes part, and a probability."""
    return [case for case in cases if case.label(name) in TOLD and name in case.probabilities]


def _at_point(
    metric: Callable[..., float],
    value: LabelValue,
    name: str,
    cases: Sequence[Case],
    of_all: float | None,
    resampling: Resampling,
) -> Estimate:
    """Sensitivity or specificity, each case at the operating point of the model that scored it."""
    chosen = [case for case in cases if case.label(name) is value]
    points = [point for case in chosen if (point := case.operating_points.get(name, of_all)) is not None]
    if len(points) < len(chosen) or (of_all is None and not any(name in case.operating_points for case in cases)):
        return _undefined(chosen, _NO_POINT)
    margins = np.array([case.probabilities[name] for case in chosen]) - np.array(points)
    truth = np.full(len(chosen), value is LabelValue.PRESENT)
    return resampling.estimate(
        lambda index: metric(truth[index], margins[index], operating_point=0.0),
        [case.patient_key for case in chosen],
        f"no study is labelled {value}",
    )


def _segment(name: str, cases: Sequence[Case], resampling: Resampling) -> SegmentFigures:
    empty = Counter(case.empty_masks.get(name) for case in cases)
    dice = segment_dice(name, cases, resampling)
    return SegmentFigures(
        name=name,
        dice=dice,
        hd95_mm=_mean([(case, case.hd95_mm.get(name)) for case in cases], resampling),
        both_empty=empty["both"],
        missed=empty["prediction"],
        invented=empty["reference"],
        without_reference=len(cases) - dice.n,
    )


def _classification(
    metric: Metric, name: str, cases: Sequence[Case], resampling: Resampling, undefined: str
) -> Estimate:
    truth = np.array([case.label(name) is LabelValue.PRESENT for case in cases], dtype=bool)
    scores = np.array([case.probabilities[name] for case in cases], dtype=np.float64)
    keys = [case.patient_key for case in cases]
    return resampling.estimate(lambda index: metric(truth[index], scores[index]), keys, undefined)


def _mean(pairs: Sequence[tuple[Case, float | None]], resampling: Resampling) -> Estimate:
    known = [(case.patient_key, value) for case, value in pairs if value is not None]
    values = np.array([value for _, value in known], dtype=np.float64)
    keys = [key for key, _ in known]
    return resampling.estimate(lambda index: float(values[index].mean()), keys, "no study has a delineation of it")


def _undefined(cases: Sequence[Case], reason: str) -> Estimate:
    return Estimate(value=None, n=len(cases), patients=len({case.patient_key for case in cases}), reason=reason)


def _why_one_class(counts: Mapping[LabelValue, int]) -> str:
    lacking = [value for value in (LabelValue.PRESENT, LabelValue.ABSENT) if not counts.get(value)]
    return f"no study is labelled {' or '.join(lacking)}" if lacking else "no scored study of both classes"


def _notes(subject: Subject, *, leakage: bool, rejected: int) -> tuple[str, ...]:
    notes: list[str] = []
    split = subject.split
    if split == "train":
        notes.append("TRAINING DATA: the model was fitted to these studies; the figures say nothing of new patients")
    if split == "validation":
        notes.append("VALIDATION DATA: the checkpoint and its operating points were chosen on these studies")
    if leakage:
        notes.append("LABEL LEAKAGE: the model was trained on report sections that state the answer")
    if subject.without:
        notes.append(f"WITHOUT {', '.join(subject.without)}: kept from the model, as if the studies lacked it")
    if subject.shuffled_reports:
        notes.append("SHUFFLED REPORTS: each study was read with the report of another patient; this is a control")
    if rejected:
        notes.append(f"{rejected} studies of the split have no result and take no part in the figures")
    return tuple(notes)
