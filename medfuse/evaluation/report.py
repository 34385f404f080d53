"""What an evaluation found, as a record and as JSON. The cases travel with it: every figure can be made again.

`evaluation_schema` is the JSON Schema of the file; `medfuse.evaluation.figures` explains each field.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medfuse import __version__
from medfuse.domain import ModelIdentity, Rejected
from medfuse.errors import UsageError
from medfuse.evaluation.cases import Case
from medfuse.evaluation.figures import (
    Failure,
    FindingFigures,
    FoldFigures,
    SegmentFigures,
    SiteFigures,
    Subgroups,
    TargetFigures,
)
from medfuse.metrics import Estimate
from medfuse.storage import write_file

SCHEMA_VERSION = 1
"""Rises when a reader of the older version could misread the file."""

RESEARCH_USE = "Research software: these figures describe a model on the data named here, and license no clinical use."


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
        targets: In the order of the label set.
        subgroups: One a column that was asked for.
        sites: Generalisation to sites that were left out of training; None unless asked for.
        failures: The studies to look at, of each kind and name the worst first.
        point_rule: How the operating points were chosen on validation; empty: as the checkpoint has them.
        tolerance_mm: Of the surface Dice.
        familiar: Number of studies that the checkpoint finds like its training set; None where it does not know.
        unfamiliar: Number of the others.
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
    targets: tuple[TargetFigures, ...] = ()
    subgroups: tuple[Subgroups, ...] = ()
    sites: SiteFigures | None = None
    failures: tuple[Failure, ...] = ()
    point_rule: str = ""
    tolerance_mm: float | None = None
    familiar: int | None = None
    unfamiliar: int | None = None


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


def evaluation_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of what `write_evaluation` writes."""
    return _adapter().json_schema(mode="serialization")


@functools.cache
def _adapter() -> TypeAdapter[EvaluationReport]:
    return TypeAdapter(EvaluationReport)
