"""Figures from cases: per finding and per segment, each with its interval by patient."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import LabelSet, LabelValue, ModelIdentity, Rejected
from medfuse.evaluation.cases import Case
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
    """

    label_set: LabelSet
    split: str
    operating_points: Mapping[str, float | None] = field(default_factory=dict)
    calibrated: frozenset[str] = frozenset()
    model: ModelIdentity | None = None
    manifest_sha256: str = ""


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
        notes=_notes(subject.split, leakage=leakage, rejected=len(rejected)),
        findings=findings,
        segments=segments,
        mean_dice=_mean_dice(subject.label_set.segments, cases, resampling),
        rejected=tuple(rejected),
        cases=tuple(cases),
    )


def _each(names: Sequence[str], figures: Callable[[str], Figures], tell: Callable[[], None]) -> tuple[Figures, ...]:
    made = []
    for name in names:
        made.append(figures(name))
        tell()
    return tuple(made)


def _finding(name: str, cases: Sequence[Case], resampling: Resampling, subject: Subject) -> FindingFigures:
    point = subject.operating_points.get(name)
    counts = Counter(case.label(name) for case in cases)
    told = {LabelValue.PRESENT, LabelValue.ABSENT}
    used = [case for case in cases if case.label(name) in told and name in case.probabilities]
    one_class = _why_one_class(counts)
    auroc_figure = _classification(auroc, name, used, resampling, one_class)
    precision_figure = _classification(average_precision, name, used, resampling, one_class)
    at_point: list[Estimate] = []
    for metric, value in ((sensitivity, LabelValue.PRESENT), (specificity, LabelValue.ABSENT)):
        chosen = [case for case in used if case.label(name) is value]
        if point is None:
            at_point.append(_undefined(chosen, _NO_POINT))
        else:
            at = partial(metric, operating_point=point)
            at_point.append(_classification(at, name, chosen, resampling, f"no study is labelled {value}"))
    return FindingFigures(
        name=name,
        present=counts[LabelValue.PRESENT],
        absent=counts[LabelValue.ABSENT],
        uncertain=counts[LabelValue.UNCERTAIN],
        not_assessed=counts[LabelValue.NOT_ASSESSED],
        operating_point=point,
        calibrated=name in subject.calibrated,
        auroc=auroc_figure,
        average_precision=precision_figure,
        sensitivity=at_point[0],
        specificity=at_point[1],
    )


def _segment(name: str, cases: Sequence[Case], resampling: Resampling) -> SegmentFigures:
    empty = Counter(case.empty_masks.get(name) for case in cases)
    dice = _mean([(case, case.dice.get(name)) for case in cases], resampling)
    return SegmentFigures(
        name=name,
        dice=dice,
        hd95_mm=_mean([(case, case.hd95_mm.get(name)) for case in cases], resampling),
        both_empty=empty["both"],
        missed=empty["prediction"],
        invented=empty["reference"],
        without_reference=len(cases) - dice.n,
    )


def _mean_dice(segments: Sequence[str], cases: Sequence[Case], resampling: Resampling) -> Estimate | None:
    if not segments:
        return None
    pairs: list[tuple[Case, float | None]] = []
    for case in cases:
        values = [value for value in map(case.dice.get, segments) if value is not None]
        pairs.append((case, float(np.mean(values)) if len(values) == len(segments) else None))
    return _mean(pairs, resampling)


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


def _notes(split: str, *, leakage: bool, rejected: int) -> tuple[str, ...]:
    notes: list[str] = []
    if split == "train":
        notes.append("TRAINING DATA: the model was fitted to these studies; the figures say nothing of new patients")
    if split == "validation":
        notes.append("VALIDATION DATA: the checkpoint and its operating points were chosen on these studies")
    if leakage:
        notes.append("LABEL LEAKAGE: the model was trained on report sections that state the answer")
    if rejected:
        notes.append(f"{rejected} studies of the split have no result and take no part in the figures")
    return tuple(notes)
