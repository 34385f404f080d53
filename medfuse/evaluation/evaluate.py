"""Figures from cases: per finding, segment and target, each with its interval by patient; groups and failures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from medfuse.domain import LabelSet, ModelIdentity, Rejected
from medfuse.evaluation.cases import Case
from medfuse.evaluation.failures import failures_of
from medfuse.evaluation.findings import finding_figures
from medfuse.evaluation.report import EvaluationReport
from medfuse.evaluation.resampling import Resampling
from medfuse.evaluation.segments import mean_dice, segment_figures
from medfuse.evaluation.subgroups import subgroups_of
from medfuse.evaluation.targets import target_figures

Figures = TypeVar("Figures")

TOLERANCE_MM = 2.0
"""Of the surface Dice, unless another is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is measured, on what.

    Args:
        label_set: Findings, segments and targets to report, in order.
        split: Name of the split that the cases are of; `train` and `validation` are marked in the notes.
        operating_points: Finding -> threshold chosen on validation data; None, or absent, where there is none.
        calibrated: Findings whose probabilities were calibrated on data that the model did not train on.
        model: Who is measured; None for probabilities of another origin.
        manifest_sha256: Hash of the manifest file, hex.
        without: Inputs that were kept from the model.
        shuffled_reports: Whether each study was read with the report of another patient.
        augmentations: Further views of each study that its answer is the mean over.
        point_rule: How the operating points were chosen on validation; empty: as the checkpoint has them.
    """

    label_set: LabelSet
    split: str
    operating_points: Mapping[str, float | None] = field(default_factory=dict)
    calibrated: frozenset[str] = frozenset()
    model: ModelIdentity | None = None
    manifest_sha256: str = ""
    without: tuple[str, ...] = ()
    shuffled_reports: bool = False
    augmentations: int = 0
    point_rule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is wanted beside the figures that every evaluation has.

    Args:
        by: Columns whose groups are to be compared; every case has a group of each (see `medfuse.evaluation.groups`).
        tolerance_mm: Of the surface Dice; the cases hold it at this tolerance, or it is null.
        lesions: Segments whose connected parts are lesions to be found one by one.
    """

    by: tuple[str, ...] = ()
    tolerance_mm: float = TOLERANCE_MM
    lesions: tuple[str, ...] = ()


NOTHING_MORE = Asked()


def evaluate(
    cases: Sequence[Case],
    subject: Subject,
    *,
    rejected: Sequence[Rejected] = (),
    asked: Asked = NOTHING_MORE,
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
        asked: What is wanted beside the usual figures.
        draws: Number of bootstrap resamples.
        seed: Of the resampling.
        confidence: Of the intervals.
        on_progress: Called after each finding, segment, target and column.
    """
    resampling = Resampling(draws=draws, seed=seed, confidence=confidence)
    tell = on_progress or (lambda: None)
    labels = subject.label_set
    familiar = [not case.familiarity.is_unfamiliar for case in cases if case.familiarity is not None]

    points = subject.operating_points
    findings = (
        finding_figures(name, cases, resampling, point=points.get(name), calibrated=name in subject.calibrated)
        for name in labels.findings
    )
    segments = (
        segment_figures(name, cases, resampling, tolerance_mm=asked.tolerance_mm, lesions=name in asked.lesions)
        for name in labels.segments
    )
    targets = (target_figures(target, cases, resampling) for target in labels.targets)
    subgroups = (subgroups_of(column, labels, cases, points, resampling) for column in asked.by)
    return EvaluationReport(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        model=subject.model,
        split=subject.split,
        manifest_sha256=subject.manifest_sha256,
        leakage_allowed=subject.model is not None and subject.model.leakage_allowed,
        studies=len(cases),
        patients=len({case.patient_key for case in cases}),
        confidence=confidence,
        draws=draws,
        seed=seed,
        notes=_notes(subject, rejected=len(rejected), unfamiliar=familiar.count(False)),
        findings=_told(findings, tell),
        segments=_told(segments, tell),
        mean_dice=mean_dice(labels.segments, cases, resampling),
        rejected=tuple(rejected),
        cases=tuple(cases),
        without=subject.without,
        targets=_told(targets, tell),
        subgroups=_told(subgroups, tell),
        failures=failures_of(labels, cases, points),
        point_rule=subject.point_rule,
        tolerance_mm=asked.tolerance_mm if labels.segments else None,
        familiar=familiar.count(True) if familiar else None,
        unfamiliar=familiar.count(False) if familiar else None,
    )


def _told(made: Iterable[Figures], tell: Callable[[], None]) -> tuple[Figures, ...]:
    """What is made, one by one, each told when it is there."""
    kept = []
    for figures in made:
        kept.append(figures)
        tell()
    return tuple(kept)


def _notes(subject: Subject, *, rejected: int, unfamiliar: int) -> tuple[str, ...]:
    notes: list[str] = []
    split = subject.split
    if split == "train":
        notes.append("TRAINING DATA: the model was fitted to these studies; the figures say nothing of new patients")
    if split == "validation":
        notes.append("VALIDATION DATA: the checkpoint and its operating points were chosen on these studies")
    if subject.model is not None and subject.model.leakage_allowed:
        notes.append("LABEL LEAKAGE: the model was trained on report sections that state the answer")
    if subject.without:
        notes.append(f"WITHOUT {', '.join(subject.without)}: kept from the model, as if the studies lacked it")
    if subject.shuffled_reports:
        notes.append("SHUFFLED REPORTS: each study was read with the report of another patient; this is a control")
    if subject.augmentations:
        notes.append(f"AUGMENTED: each answer is the mean of the study and {subject.augmentations} further views of it")
    if subject.point_rule:
        notes.append(f"OPERATING POINTS chosen on the validation split by the rule {subject.point_rule}")
    if unfamiliar:
        notes.append(f"{unfamiliar} studies are unlike the training set by the checkpoint's own measure")
    if rejected:
        notes.append(f"{rejected} studies of the split have no result and take no part in the figures")
    return tuple(notes)
