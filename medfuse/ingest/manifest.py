"""The manifest: a CSV file with one row a study, which training, evaluation and people read.

The standard library's `csv` reads and writes it rather than polars: every cell is text with rules of its own, messages
name the line, and a manifest is small (polars was looked at; it takes longer to import than this takes to read).
Cells that a spreadsheet would take for a formula are written behind an apostrophe, which reading takes off again
(OWASP, "CSV Injection").
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from medfuse.domain import LabelValue, Study
from medfuse.errors import ManifestError, StudyError, UsageError
from medfuse.ingest.labels import TARGET_PREFIX
from medfuse.ingest.scan import ScanResult, find_studies
from medfuse.storage import write_file

LABEL_PREFIX = "label_"
"""Columns of this prefix hold one finding each."""

_LIST_SEPARATOR = " | "
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


class Column(NamedTuple):
    """A column of the manifest: its name, the JSON type of its values, and what they mean."""

    name: str
    kind: Literal["string", "integer"]
    meaning: str


COLUMNS = (
    Column("study_instance_uid", "string", "Study Instance UID (0020,000D), or one made for NIfTI; unique."),
    Column("patient_key", "string", "Hash of the patient identifier; splits are by it."),
    Column("accession_number", "string", "Accession Number (0008,0050), or the case name of a data set; may be empty."),
    Column("source", "string", "Where the voxels come from: `dicom` or `nifti`."),
    Column(
        "path",
        "string",
        "What to scan to find the study: relative to the manifest's folder if below it, else absolute.",
    ),
    Column("modalities", "string", "Modalities of the image series, separated by ` | `."),
    Column("series_count", "integer", "Number of image series that can become a volume."),
    Column("report_count", "integer", "Number of reports that could be read."),
    Column("segmentation_count", "integer", "Number of files with delineations."),
    Column("problems", "string", "What was left out and why, `REASON: detail`, separated by ` | `."),
)
"""The fixed columns in their order; `label_<finding>` and `target_<name>` columns follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One study of a manifest; the fields are the columns (see `COLUMNS`).

    Args:
        path: Absolute, once read.
        labels: Finding -> value, in the order of the columns.
        targets: Target -> what its column says, in the order of the columns; one that is not known is absent. Which
            classes there are, or that it is a number, a label set says (`medfuse.domain.Target.number_of`).
    """

    study_instance_uid: str
    patient_key: str
    accession_number: str = ""
    source: Literal["dicom", "nifti"]
    path: Path
    modalities: tuple[str, ...] = ()
    series_count: int = 0
    report_count: int = 0
    segmentation_count: int = 0
    problems: tuple[str, ...] = ()
    labels: Mapping[str, LabelValue] = field(default_factory=dict)
    targets: Mapping[str, str | float] = field(default_factory=dict)


def row_of(
    study: Study,
    root: Path,
    labels: Mapping[str, LabelValue] | None = None,
    targets: Mapping[str, str | float] | None = None,
) -> ManifestRow:
    """The row of a study.

    Args:
        study: As found by `find_studies`.
        root: What was scanned. A study of one NIfTI file is found again there, with what lies beside the file.
        labels: Its labels.
        targets: What is known of its targets.
    """
    is_nifti = any(series.is_nifti for series in study.series) or study.path.is_file()
    return ManifestRow(
        study_instance_uid=study.study_instance_uid,
        patient_key=study.patient_key,
        accession_number=study.accession_number,
        source="nifti" if is_nifti else "dicom",
        path=root if study.path.is_file() else study.path,
        modalities=tuple(dict.fromkeys(series.modality.value for series in study.series)),
        series_count=len(study.series),
        report_count=len(study.reports),
        segmentation_count=len(study.segmentations),
        problems=study.problems,
        labels=dict(labels or {}),
        targets=dict(targets or {}),
    )


def write_manifest(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Write a manifest, whole or not at all.

    Args:
        path: The file; one of that name is replaced. Its folder exists.
        rows: One a study, all with the same findings.

    Raises:
        ValueError: There are no rows, or their findings differ.
        StorageError: The place cannot be written, or is full.
    """
    if not rows or any(tuple(row.labels) != tuple(rows[0].labels) for row in rows):
        raise ValueError("a manifest has rows, all of them with the same findings")
    folder = path.resolve().parent
    fullest_first = sorted(rows, key=lambda row: -len(row.targets))  # a row that lacks none has them all in order
    targets = tuple(dict.fromkeys(name for row in fullest_first for name in row.targets))
    named = (LABEL_PREFIX + name for name in rows[0].labels), (TARGET_PREFIX + name for name in targets)
    header = (*_names(COLUMNS), *named[0], *named[1])
    lines = [_line_of(header), *(_line_of(_cells(row, folder, targets)) for row in rows)]
    _write_text(path, "".join(lines))


def read_manifest(path: Path) -> tuple[ManifestRow, ...]:
    """Read a manifest; columns that medfuse does not know are left alone.

    Raises:
        ManifestError: The file cannot be read, lacks a column, or holds a value that its column does not take.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:  # paths may be no UTF-8
            text = file.read()
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror or 'cannot be read'}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[ManifestRow] = []
    seen: dict[str, int] = {}
    try:
        header = [_unguard(name) for name in next(reader, [])]
        _check_header(path, header)
        for cells in reader:
            if len(cells) != len(header):
                raise ManifestError(f"{path}: line {reader.line_num} has {len(cells)} values, expected {len(header)}")
            row = _row(_Line(path, reader.line_num, dict(zip(header, map(_unguard, cells), strict=True))))
            if row.study_instance_uid in seen:
                first = seen[row.study_instance_uid]
                raise ManifestError(f"{path}: line {reader.line_num} repeats the study_instance_uid of line {first}")
            seen[row.study_instance_uid] = reader.line_num
            rows.append(row)
    except csv.Error as error:
        raise ManifestError(f"{path}: line {reader.line_num} is no CSV: {error}") from error
    if not rows:
        raise ManifestError(f"{path}: holds no studies; write it with medfuse index")
    return tuple(rows)


def study_of(row: ManifestRow) -> Study:
    """Find the study of a row again, with its files; each folder is scanned once a process.

    Raises:
        StudyError: It is not there any more (`STUDY_NOT_FOUND`), or is rejected now (the reason of the rejection).
    """
    uid = row.study_instance_uid
    try:
        studies, rejected = _scanned(row.path.resolve())
    except UsageError as error:
        raise StudyError(f"study {uid} is gone: {error}; index its folder anew", reason="STUDY_NOT_FOUND") from error
    if uid in rejected:
        raise StudyError(rejected[uid].detail, reason=rejected[uid].reason)
    if uid not in studies:
        raise StudyError(f"study {uid} is not under {row.path} any more; index it anew", reason="STUDY_NOT_FOUND")
    return studies[uid]


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a row, cells read as their column's type."""
    properties = {c.name: {"type": c.kind, "description": c.meaning, **_limits(c)} for c in COLUMNS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A row of a medfuse manifest",
        "type": "object",
        "properties": properties,
        "patternProperties": {
            f"^{LABEL_PREFIX}.+": {
                "enum": [value.value for value in LabelValue],
                "description": "The finding named behind the prefix.",
            },
            f"^{TARGET_PREFIX}.+": {
                "type": ["string", "number"],
                "description": "The class, grade or number of the target named behind the prefix; empty for unknown.",
            },
        },
        "required": _names(COLUMNS),
    }


def write_schema(path: Path) -> None:
    """Write `manifest_schema` as JSON; `data_manifests/manifest.schema.json` is made by this.

    Raises:
        StorageError: The place cannot be written.
    """
    _write_text(path, json.dumps(manifest_schema(), indent=2) + "\n")


class _Line(NamedTuple):
    """A row as text, with its place for messages."""

    path: Path
    number: int
    cells: dict[str, str]

    def refuse(self, column: str, expected: str) -> ManifestError:
        """An error about one cell. Cells that may name a person are not quoted."""
        found = "" if column in {"patient_key", "accession_number"} else f", found {self.cells[column][:60]!r}"
        return ManifestError(f"{self.path}: line {self.number}, column {column}: expected {expected}{found}")

    def text(self, column: str) -> str:
        if not self.cells[column]:
            raise self.refuse(column, "a value")
        return self.cells[column]

    def count(self, column: str) -> int:
        value = self.cells[column]
        if not (value.isascii() and value.isdecimal()):
            raise self.refuse(column, "a whole number from 0")
        return int(value)

    def listed(self, column: str) -> tuple[str, ...]:
        return tuple(part for part in self.cells[column].split(_LIST_SEPARATOR) if part)

    def label(self, column: str) -> LabelValue:
        try:
            return LabelValue(self.cells[column])
        except ValueError:
            raise self.refuse(column, ", ".join(LabelValue)) from None


def _row(line: _Line) -> ManifestRow:
    source = line.text("source")
    if source not in ("dicom", "nifti"):
        raise line.refuse("source", "dicom or nifti")
    return ManifestRow(
        study_instance_uid=line.text("study_instance_uid"),
        patient_key=line.text("patient_key"),
        accession_number=line.cells["accession_number"],
        source="dicom" if source == "dicom" else "nifti",
        path=line.path.resolve().parent / line.text("path"),
        modalities=line.listed("modalities"),
        series_count=line.count("series_count"),
        report_count=line.count("report_count"),
        segmentation_count=line.count("segmentation_count"),
        problems=line.listed("problems"),
        labels={
            column.removeprefix(LABEL_PREFIX): line.label(column)
            for column in line.cells
            if column.startswith(LABEL_PREFIX)
        },
        targets={
            column.removeprefix(TARGET_PREFIX): text.strip()
            for column, text in line.cells.items()
            if column.startswith(TARGET_PREFIX) and text.strip()
        },
    )


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in _names(COLUMNS) if name not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise ManifestError(
            f"{path}: lacks the column {', '.join(missing)}; found {found}; write it with medfuse index"
        )
    repeated = [name for name, n in Counter(header).items() if n > 1]
    unnamed = [prefix for prefix in (LABEL_PREFIX, TARGET_PREFIX) if prefix in header]
    if repeated or unnamed:
        raise ManifestError(f"{path}: columns must be named, and once; found twice or unnamed: {repeated or unnamed}")


def _cells(row: ManifestRow, folder: Path, targets: Sequence[str]) -> list[str]:
    path = row.path.resolve()
    return [
        row.study_instance_uid,
        row.patient_key,
        row.accession_number,
        row.source,
        path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix(),
        _joined(row.modalities),
        str(row.series_count),
        str(row.report_count),
        str(row.segmentation_count),
        _joined(row.problems),
        *(value.value for value in row.labels.values()),
        *(_plain(row.targets.get(name, "")) for name in targets),
    ]


def _line_of(cells: Iterable[str]) -> str:
    """One line of CSV. The default dialect is the one that quotes carriage returns; the line ends in a line feed."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(_guard(cell) for cell in cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _plain(value: str | float) -> str:
    """A target's value as text: numbers as short as they can be read back."""
    return value if isinstance(value, str) else repr(value).removesuffix(".0")


def _joined(parts: Iterable[str]) -> str:
    return _LIST_SEPARATOR.join(" ".join(part.replace("|", "/").split()) for part in parts)


def _guard(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell


def _unguard(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA_STARTS) else cell


def _names(columns: Iterable[Column]) -> list[str]:
    return [column.name for column in columns]


def _limits(column: Column) -> dict[str, Any]:
    if column.kind == "integer":
        return {"minimum": 0}
    if column.name == "source":
        return {"enum": ["dicom", "nifti"]}
    return {"minLength": 1} if column.name in {"study_instance_uid", "patient_key", "path"} else {}


@cache
def _scanned(root: Path) -> tuple[dict[str, Study], dict[str, Any]]:
    found: ScanResult = find_studies(root)
    return (
        {study.study_instance_uid: study for study in found.studies},
        {rejected.study_instance_uid: rejected for rejected in found.rejected},
    )


def _write_text(path: Path, text: str) -> None:
    content = text.encode("utf-8", errors="surrogateescape")
    write_file(path, lambda aside: aside.write_bytes(content))
