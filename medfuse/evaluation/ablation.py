"""What each part adds: variants of one model on the same studies, and paired differences between them."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from medfuse import __version__
from medfuse.evaluation.compare import Difference, compare
from medfuse.evaluation.report import RESEARCH_USE, EvaluationReport
from medfuse.metrics import Estimate
from medfuse.storage import write_file

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row: a model, or a model with an input kept from it.

    Args:
        name: Of the variant.
        minutes: Time of its training; None for a model that was trained for another row.
        studies: Number of scored studies.
        rejected: Number of studies without a result.
        auroc: Of each finding; absent for what it does not predict.
        mean_dice: Mean over studies of the mean over segments; None for a model that delineates nothing.
        notes: What a reader must know before quoting a figure.
    """

    name: str
    minutes: float | None
    studies: int
    rejected: int
    auroc: dict[str, Estimate]
    mean_dice: Estimate | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One variant against another on the studies of both: figures of the first less those of the second."""

    name: str
    against: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationReport:
    """The whole table.

    Args:
        config_sha256: Of the full model's config.
        reference: Name of the full model.
        folds: Which folds were test sets, in words.
        manifest_sha256: Hash of the manifest file, hex.
        findings: In the order of the label set.
        segments: In the order of the label set.
        variants: The rows.
        comparisons: Each variant against the full model, and what else was asked for.
    """

    schema_version: int = SCHEMA_VERSION
    research_use: str = RESEARCH_USE
    medfuse_version: str = __version__
    created_at: str
    config_sha256: str
    reference: str
    folds: str
    manifest_sha256: str
    confidence: float
    draws: int
    seed: int
    findings: tuple[str, ...]
    segments: tuple[str, ...]
    variants: tuple[Variant, ...]
    comparisons: tuple[Comparison, ...]


def ablation_of(
    reports: Mapping[str, EvaluationReport],
    minutes: Mapping[str, float | None],
    *,
    config_sha256: str,
    folds: str,
    pairs: Sequence[tuple[str, str]] = (),
) -> AblationReport:
    """The table from the evaluations.

    Args:
        reports: Variant -> its evaluation, the full model first.
        minutes: Variant -> time of its training.
        config_sha256: Of the full model's config.
        folds: Which folds were test sets, in words.
        pairs: Further comparisons, `(variant, against)`, beside each variant against the full model.
    """
    reference, full = next(iter(reports.items()))
    asked = [(name, reference) for name in reports if name != reference]
    asked += [pair for pair in pairs if set(pair) <= reports.keys() and pair not in asked]
    findings = tuple(finding.name for finding in full.findings)
    segments = tuple(segment.name for segment in full.segments)

    def comparison(name: str, against: str) -> Comparison:
        ours, theirs = reports[name].cases, reports[against].cases
        differences = compare(
            ours, theirs, findings, segments, draws=full.draws, seed=full.seed, confidence=full.confidence
        )
        return Comparison(name=name, against=against, differences=differences)

    return AblationReport(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        config_sha256=config_sha256,
        reference=reference,
        folds=folds,
        manifest_sha256=full.manifest_sha256,
        confidence=full.confidence,
        draws=full.draws,
        seed=full.seed,
        findings=findings,
        segments=segments,
        variants=tuple(_variant(name, report, minutes.get(name)) for name, report in reports.items()),
        comparisons=tuple(comparison(*pair) for pair in asked),
    )


def write_ablation(report: AblationReport, path: Path) -> None:
    """Write a report as JSON, whole or not at all.

    Raises:
        StorageError: It could not be written.
    """
    text = _adapter().dump_json(report, indent=2) + b"\n"
    write_file(path, lambda aside: aside.write_bytes(text))


def _variant(name: str, report: EvaluationReport, minutes: float | None) -> Variant:
    return Variant(
        name=name,
        minutes=minutes,
        studies=report.studies,
        rejected=len(report.rejected),
        auroc={finding.name: finding.auroc for finding in report.findings},
        mean_dice=report.mean_dice,
        notes=report.notes,
    )


@functools.cache
def _adapter() -> TypeAdapter[AblationReport]:
    return TypeAdapter(AblationReport)
