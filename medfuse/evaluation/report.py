"""What an evaluation found, as a record and as JSON. The cases travel with it: every figure can be made again."""

import functools
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from medfuse import __version__
from medfuse.domain import ModelIdentity, Rejected
from medfuse.errors import UsageError
from medfuse.evaluation.cases import Case
from medfuse.metrics import Estimate
from medfuse.storage import write_file

SCHEMA_VERSION = 1
"""Rises when a reader of the older version could misread the file."""

RESEARCH_USE = "Research software: these figures describe a model on the data named here, and license no clinical use."


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingFigures:
    """How well one finding is told.

    Args:
        name: Of the finding.
        present: Number of studies labelled PRESENT.
        absent: Number labelled ABSENT.
        uncertain: Number labelled UNCERTAIN; they take no part.
        not_assessed: Number without a label; they take no part.
        operating_point: Probability from which the finding is called; from the checkpoint, chosen on validation.
        calibrated: Whether the probabilities were calibrated on data that the model did not train on.
        auroc: Over `present + absent` studies.
        average_precision: Over the same.
        sensitivity: Over the `present` studies, at the operating point.
        specificity: Over the `absent` studies, at the operating point.
    """

    name: str
    present: int
    absent: int
    uncertain: int
    not_assessed: int
    operating_point: float | None
    calibrated: bool
    auroc: Estimate
    average_precision: Estimate
    sensitivity: Estimate
    specificity: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFigures:
    """How well one segment is delineated.

    Args:
        name: Of the segment.
        dice: Mean over the studies that have a delineation of it.
        hd95_mm: Mean over the same studies, mm.
        both_empty: Studies where neither mask has a voxel: Dice 1, HD95 0.
        missed: Studies where only the prediction is empty: Dice 0, HD95 the diagonal of the grid.
        invented: Studies where only the reference is empty: the same values.
        without_reference: Studies that take no part, for want of a delineation or of a prediction.
    """

    name: str
    dice: Estimate
    hd95_mm: Estimate
    both_empty: int
    missed: int
    invented: int
    without_reference: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldFigures:
    """One fold of a cross-validation on its own test set.

    Args:
        name: Of the fold.
        studies: Number of scored studies.
        patients: Number of their patients.
        auroc: Of each finding.
        dice: Mean over the studies that have a delineation of it, of each segment.
        mean_dice: As in `EvaluationReport`.
    """

    name: str
    studies: int
    patients: int
    auroc: dict[str, Estimate]
    dice: dict[str, Estimate]
    mean_dice: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """The figures of one model on one split, and where they come from.

    Args:
        model: Who was measured; None for probabilities of another origin.
        split: Name of the split.
        manifest_sha256: Hash of the manifest file, hex; empty when there was none.
        leakage_allowed: Whether the model read report sections that state the answer.
        findings: In the order of the label set.
        segments: In the order of the label set.
        mean_dice: Mean over studies of the mean over segments, for studies that have all of them; None for no segments.
        cases: What the figures are made of.
        rejected: Studies of the split without a result, each with a reason.
        notes: What a reader must know before quoting a figure, one line each.
        confidence: Of the intervals.
        draws: Number of resamples.
        seed: Of the resampling.
        created_at: ISO 8601, UTC.
        without: Inputs that were kept from the model.
        folds: Of a cross-validation, each fold by itself; the other figures are of all test sets pooled.
    """

    schema_version: int = SCHEMA_VERSION
    research_use: str = RESEARCH_USE
    medfuse_version: str = __version__
    created_at: str
    model: ModelIdentity | None = None
    split: str
    manifest_sha256: str = ""
    leakage_allowed: bool = False
    studies: int
    patients: int
    confidence: float
    draws: int
    seed: int
    notes: tuple[str, ...] = ()
    findings: tuple[FindingFigures, ...] = ()
    segments: tuple[SegmentFigures, ...] = ()
    mean_dice: Estimate | None = None
    rejected: tuple[Rejected, ...] = ()
    cases: tuple[Case, ...] = field(default=(), repr=False)
    without: tuple[str, ...] = ()
    folds: tuple[FoldFigures, ...] = ()


def write_evaluation(report: EvaluationReport, path: Path) -> None:
    """Write a report as JSON, whole or not at all.

    Raises:
        StorageError: It could not be written.
    """
    text = _adapter().dump_json(report, indent=2) + b"\n"
    write_file(path, lambda aside: aside.write_bytes(text))


def read_evaluation(path: Path) -> EvaluationReport:
    """Read a report that `write_evaluation` wrote.

    Raises:
        UsageError: The file is missing, is no such report, or is of a newer schema.
    """
    try:
        report = _adapter().validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; run medfuse evaluate again") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{path} is no evaluation of medfuse: {where}: {first['msg']}") from error
    if report.schema_version > SCHEMA_VERSION:
        raise UsageError(
            f"{path} has schema_version {report.schema_version}, expected at most {SCHEMA_VERSION}; update medfuse"
        )
    return report


@functools.cache
def _adapter() -> TypeAdapter[EvaluationReport]:
    return TypeAdapter(EvaluationReport)
