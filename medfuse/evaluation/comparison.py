"""A comparison of runs as a record, as JSON, and as a table for the terminal."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medfuse import __version__
from medfuse.domain import ModelIdentity
from medfuse.errors import UsageError
from medfuse.evaluation.folds import pool
from medfuse.evaluation.paired import PairedDifference, RunCases, claim, compare_runs, shown_p
from medfuse.evaluation.report import RESEARCH_USE, read_evaluation
from medfuse.evaluation.resampling import Resampling
from medfuse.evaluation.run import Collected
from medfuse.evaluation.stored import checkpoint_sha256, read_stored, stored_path
from medfuse.storage import write_file

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One run of a comparison: its name in the table, who was measured, and what to know of its figures."""

    name: str
    model: ModelIdentity | None
    studies: int
    patients: int
    manifest_sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonReport:
    """Runs against the first one, on the same studies.

    Args:
        split: Name of the split.
        runs: In the order that they were given in; the first is the reference.
        differences: Every measure of every other run less that of the reference.
        comparisons: Number of p values that were corrected together.
        correction: By which method.
        claims: What may be claimed, a sentence a difference.
        draws: Number of bootstrap resamples.
        seed: Of the resampling.
        confidence: Of the intervals, which are not corrected.
    """

    schema_version: int = SCHEMA_VERSION
    research_use: str = RESEARCH_USE
    medfuse_version: str = __version__
    created_at: str
    split: str
    runs: tuple[ComparedRun, ...]
    differences: tuple[PairedDifference, ...]
    comparisons: int
    correction: str = "Holm"
    claims: tuple[str, ...]
    draws: int
    seed: int
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One run as it was read: its cases, and who was measured."""

    cases: RunCases
    model: ModelIdentity | None


def read_runs(paths: Sequence[Path], split: str) -> tuple[Given, ...]:
    """The predictions of runs.

    Args:
        paths: Run folders with predictions of the split that `medfuse evaluate` kept, or evaluations as JSON.
        split: Which predictions.

    Raises:
        UsageError: A path holds none, or an evaluation is of another split.
    """
    names = _names(paths)
    return tuple(
        _from_evaluation(path, name, split) if path.is_file() else _from_run(path, name, split)
        for path, name in zip(paths, names, strict=True)
    )


def compare_given(
    given: Sequence[Given], split: str, resampling: Resampling, only: Sequence[str] = ()
) -> ComparisonReport:
    """Compare runs.

    Args:
        given: The reference first.
        split: Name of the split.
        resampling: How intervals are made.
        only: Measures to compare; empty for all.

    Raises:
        UsageError: They are of other studies, patients or labels, or have nothing in common.
    """
    differences = compare_runs([each.cases for each in given], resampling, only)
    comparisons = sum(one.p is not None for one in differences)
    return ComparisonReport(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        split=split,
        runs=tuple(_compared(each) for each in given),
        differences=differences,
        comparisons=comparisons,
        claims=tuple(claim(one, comparisons) for one in differences),
        draws=resampling.draws,
        seed=resampling.seed,
        confidence=resampling.confidence,
    )


def write_comparison(report: ComparisonReport, path: Path) -> None:
    """Write a comparison as JSON, whole or not at all.

    Raises:
        StorageError: It could not be written.
    """
    text = _adapter().dump_json(report, indent=2) + b"\n"
    write_file(path, lambda aside: aside.write_bytes(text))


def render_comparison(report: ComparisonReport) -> RenderableType:
    """The comparison as something that a rich console prints: a table a run, then what may be claimed."""
    reference = report.runs[0]
    head = (
        f"{len(report.runs)} runs on the same {reference.studies} studies of {reference.patients} patients "
        f"({report.split} split); {report.confidence:.0%} intervals by patient, {report.draws} resamples; p after "
        f"{report.correction}'s correction for {report.comparisons} comparisons"
    )
    parts: list[RenderableType] = [Text(head, style="bold")]
    for run in report.runs:
        parts += [Text(f"! {run.name}: {note}", style="bold red") for note in run.notes]
    parts += [_table(run.name, report) for run in report.runs[1:]]
    parts.append(Text("What may be claimed:"))
    parts += [Text(f"  {sentence}") for sentence in _short_claims(report)]
    return Group(*parts)


def _short_claims(report: ComparisonReport) -> list[str]:
    """The claims; what is undecided in one sentence a run."""
    told = [
        sentence for one, sentence in zip(report.differences, report.claims, strict=True) if one.verdict != "undecided"
    ]
    for run in report.runs[1:]:
        open_ones = [one.measure for one in report.differences if one.run == run.name and one.verdict == "undecided"]
        if open_ones:
            told.append(
                f"{run.name} and {report.runs[0].name}: no difference may be claimed in {'; '.join(open_ones)}. This "
                "does not show that they are equal."
            )
    return told


def _table(name: str, report: ComparisonReport) -> Table:
    table = Table(highlight=False, show_lines=True)
    table.add_column(Text(f"{name} less {report.runs[0].name}"), overflow="fold")
    for column in ("figures", "difference", "p", "which is"):
        table.add_column(column, no_wrap=True)
    for one in report.differences:
        if one.run == name:
            interval = "" if one.difference.low is None else f"{one.difference.low:+.3f} to {one.difference.high:+.3f}"
            table.add_row(
                Text(f"{one.measure}\n{one.test}"),
                Text(f"{_number(one.value)}\nless {_number(one.reference)}"),
                Text(f"{_number(one.difference.value, '+.3f')}\n{interval}"),
                Text(shown_p(one.p_corrected).removeprefix("= ")),
                Text(one.verdict),
            )
    return table


def _number(value: float | None, form: str = ".3f") -> str:
    return "n/a" if value is None else format(value, form)


def _compared(given: Given) -> ComparedRun:
    cases = given.cases.cases
    return ComparedRun(
        name=given.cases.name,
        model=given.model,
        studies=len(cases),
        patients=len({case.patient_key for case in cases}),
        manifest_sha256=given.cases.manifest_sha256,
        notes=given.cases.notes,
    )


def _from_run(run: Path, name: str, split: str) -> Given:
    from medfuse.model.checkpoint import fold_runs

    folds = fold_runs(run)
    if not folds:
        one = _collected(run, split)
        return Given(cases=_run_cases(one, name), model=one.subject.model)
    if split != "test":
        raise UsageError(f"--split {split}: the folds of {run} are compared on their test sets; give one of its folds")
    from medfuse.inference.ensemble import combined_identity

    collected = {fold.name: _collected(fold, split) for fold in folds}
    model = combined_identity([each.subject.model for each in collected.values() if each.subject.model is not None])
    return Given(cases=_run_cases(pool(collected, model), name), model=model)


def _collected(run: Path, split: str) -> Collected:
    """The predictions that are kept beside a run, of the checkpoint that it has now.

    Raises:
        UsageError: There are none, or the run was trained or calibrated since.
    """
    path = stored_path(run, split)
    if not path.is_file():
        raise UsageError(
            f"{run} holds no predictions of the {split} split; make them: medfuse evaluate {run} --manifest FILE "
            "--output FILE"
        )
    stored = read_stored(path)
    checkpoint = checkpoint_sha256(run)
    if not checkpoint or stored.checkpoint_sha256 != checkpoint:
        raise UsageError(f"{path} is of another checkpoint than {run / 'best'}; run medfuse evaluate on it again")
    return stored.collected


def _run_cases(one: Collected, name: str) -> RunCases:
    leaks = one.subject.model is not None and one.subject.model.leakage_allowed
    notes = ["LABEL LEAKAGE: the model was trained on report sections that state the answer"] if leaks else []
    if one.subject.split != "test":
        notes.append(f"{one.subject.split.upper()} DATA: the model was fitted to these studies or chosen by them")
    if one.rejected:
        notes.append(f"{len(one.rejected)} studies have no result and take no part")
    return RunCases(
        name=name,
        cases=one.cases,
        label_set=one.subject.label_set,
        operating_points=one.subject.operating_points,
        manifest_sha256=one.subject.manifest_sha256,
        notes=tuple(notes),
    )


def _from_evaluation(path: Path, name: str, split: str) -> Given:
    from medfuse.domain import LabelSet, Target

    report = read_evaluation(path)
    if report.split != split:
        raise UsageError(f"{path} is of the {report.split} split, expected {split}; give --split {report.split}")
    labels = LabelSet(
        findings=tuple(finding.name for finding in report.findings),
        segments=tuple(segment.name for segment in report.segments),
        targets=tuple(Target(name=t.name, kind=t.kind, classes=t.classes, unit=t.unit) for t in report.targets),
    )
    cases = RunCases(
        name=name,
        cases=report.cases,
        label_set=labels,
        operating_points={finding.name: finding.operating_point for finding in report.findings},
        manifest_sha256=report.manifest_sha256,
        notes=report.notes,
    )
    return Given(cases=cases, model=report.model)


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, or the whole path where two have the same one."""
    short = [path.resolve().stem if path.is_file() else path.resolve().name for path in paths]
    if len(set(short)) == len(short):
        return short
    whole = [str(path) for path in paths]
    if len(set(whole)) < len(whole):
        raise UsageError("a run is given twice; a comparison is of different runs")
    return whole


@functools.cache
def _adapter() -> TypeAdapter[ComparisonReport]:
    return TypeAdapter(ComparisonReport)
