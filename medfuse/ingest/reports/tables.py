"""Tables of reports: CSV, JSON and JSON lines, one report a row, its text in one column or in one column a section.

Which columns hold what is told by `ReportColumns`, or by their names: `VolumeName, ClinicalInformation_EN,
Technique_EN, Findings_EN, Impressions_EN` are CT-RATE's, whose literal "Not given." says that a section is missing.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medfuse.domain import Report, SectionName
from medfuse.errors import UnreadableReportError
from medfuse.ingest.reports.sectioning import parse_report, report_of, section_of

ID_COLUMNS = (
    "study_instance_uid",
    "studyinstanceuid",
    "accession_number",
    "accessionnumber",
    "accession",
    "volumename",
    "study_uid",
    "study_id",
    "report_id",
    "id",
    "patient_id",
)
"""Columns that may say whose report it is, the surest first."""

TEXT_COLUMNS = ("report", "report_text", "text", "radiology_report", "full_report", "note", "body", "content")
"""Columns that may hold a whole report."""

MISSING = frozenset({"", "not given.", "not given", "n/a", "na", "nan", "null", "[]", "-"})
"""Cells that hold no text, in lower case."""

_SUFFIX = re.compile(r"_(?:en|de|fr|es|zh|text|section)\Z", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-zß-ÿ])(?=[A-Z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportColumns:
    """Which columns of a table hold what; what is left out is told by the columns' names.

    Args:
        id: The column that says whose report it is.
        text: The column with the whole report.
        sections: Column -> the section that it holds, in the order that the report takes.
    """

    id: str | None = None
    text: str | None = None
    sections: Mapping[str, SectionName] = field(default_factory=dict)


def read_csv_reports(text: str, name: str, columns: ReportColumns | None = None) -> tuple[tuple[str, Report], ...]:
    """The reports of a CSV file, separated by commas, semicolons or tabs; rows without any text are left out.

    Args:
        text: The file's text; its first line names the columns.
        name: What to call the file in a message.
        columns: Which columns hold what.

    Returns:
        Key and report of each row, in the file's order.

    Raises:
        UnreadableReportError: The table has no such columns, or no text (`NO_REPORT_COLUMNS`, `EMPTY_REPORT`), or is
            no CSV (`UNREADABLE_REPORT`).
    """
    first = text.splitlines()[0] if text.strip() else ""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise UnreadableReportError(f"{name}: line {reader.line_num} is no CSV: {error}") from error
    for line, cells in rows:
        if len(cells) != len(header):
            raise UnreadableReportError(
                f"{name}: line {line} has {len(cells)} values, expected {len(header)} as in the header"
            )
    records = [(f"line {line}", dict(zip(header, cells, strict=True))) for line, cells in rows]
    return _reports(records, header, name, columns)


def read_json_reports(
    records: Sequence[tuple[str, object]], name: str, columns: ReportColumns | None = None
) -> tuple[tuple[str, Report], ...]:
    """The reports of JSON records.

    Args:
        records: Where each record stands (`line 3`), and the record; each has to be an object.
        name: What to call the file in a message.
        columns: Which keys hold what.

    Raises:
        UnreadableReportError: As for `read_csv_reports`.
    """
    rows: list[tuple[str, dict[str, str]]] = []
    for place, record in records:
        if not isinstance(record, Mapping):
            raise UnreadableReportError(f"{name}: {place} is no JSON object; expected one object a report")
        rows.append((place, {str(key): _cell(value) for key, value in record.items()}))
    header = list(dict.fromkeys(key for _, row in rows for key in row))
    return _reports(rows, header, name, columns)


def _reports(
    records: Sequence[tuple[str, dict[str, str]]], header: Sequence[str], name: str, columns: ReportColumns | None
) -> tuple[tuple[str, Report], ...]:
    chosen = resolve_columns(header, name, columns)
    reports: list[tuple[str, Report]] = []
    places: dict[str, str] = {}
    for place, row in records:
        key = row.get(chosen.id or "", "").strip()
        if not key:
            raise UnreadableReportError(f"{name}: {place} has no {chosen.id}")
        if key in places:
            raise UnreadableReportError(f"{name}: {place} repeats the {chosen.id} of {places[key]}; keep one of them")
        places[key] = place
        report = _report(row, chosen)
        if report is not None:
            reports.append((key, report))
    if not reports:
        raise UnreadableReportError(f"{name}: no row holds text", reason="EMPTY_REPORT")
    return tuple(reports)


def resolve_columns(header: Sequence[str], name: str, columns: ReportColumns | None = None) -> ReportColumns:
    """The columns to read, those that were not named found by their names.

    Raises:
        UnreadableReportError: A column that was named is not there, or none can be told (`NO_REPORT_COLUMNS`).
    """
    asked = columns or ReportColumns()
    missing = [one for one in (asked.id, asked.text, *asked.sections) if one and one not in header]
    by_name = {column.lower(): column for column in reversed(header)}
    identity = asked.id or next((by_name[one] for one in ID_COLUMNS if one in by_name), None)
    sections = asked.sections or ({} if asked.text else dict(_section_columns(header, identity)))
    text = asked.text or (None if sections else next((by_name[one] for one in TEXT_COLUMNS if one in by_name), None))
    if missing or identity is None or not (text or sections):
        what = ", ".join(missing) if missing else "whose report it is" if identity is None else "the report's text"
        found = ", ".join(header) or "nothing"
        raise UnreadableReportError(
            f"{name}: no column for {what}; found {found}; name the columns", reason="NO_REPORT_COLUMNS"
        )
    return ReportColumns(id=identity, text=text, sections=sections)


def _section_columns(header: Sequence[str], identity: str | None) -> Iterator[tuple[str, SectionName]]:
    """Columns that are named like a heading; one called `report` or `text` is a whole report, not FINDINGS."""
    for column in header:
        if column == identity or column.lower() in TEXT_COLUMNS:
            continue
        words = _CAMEL.sub(" ", _SUFFIX.sub("", column)).replace("_", " ")
        section = section_of(words)
        if section is not None and section is not SectionName.OTHER:
            yield column, section


def _report(row: Mapping[str, str], chosen: ReportColumns) -> Report | None:
    """The report of a row, or None without text."""
    if chosen.text is not None and not chosen.sections:
        text = row.get(chosen.text, "")
        return None if text.strip().lower() in MISSING else parse_report(text)
    texts = [(section, row.get(column, "")) for column, section in chosen.sections.items()]
    if chosen.text is not None:
        texts.insert(0, (SectionName.OTHER, row.get(chosen.text, "")))
    kept = [(section, text) for section, text in texts if text.strip().lower() not in MISSING]
    return report_of(kept) if kept else None


def _cell(value: Any) -> str:
    """A JSON value as text: lists of strings are lines."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "\n".join(value)
    return json.dumps(value, ensure_ascii=False)
