"""Reports from files: `read_report` for the report of one study, `read_reports` for files that hold many.

What a file is, is told by its first bytes, whatever its name: DICOM (a structured report), HL7 version 2 (`MSH|`), JSON
(FHIR, or records), else text; a table is told by its suffix. Encapsulated documents in DICOM (PDF, CDA) are left out:
text comes out of a PDF in no order that could be relied on, and a CDA document repeats what the SR or the HL7 message
of the same report says, at the price of an XML parser that has to be kept safe.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

from medfuse.domain import Report
from medfuse.errors import UnreadableReportError
from medfuse.ingest.dicom.files import may_be_dicom
from medfuse.ingest.reports.decoding import decode
from medfuse.ingest.reports.sectioning import parse_report, section_of
from medfuse.ingest.reports.tables import ReportColumns, read_csv_reports, read_json_reports

__all__ = [
    "MAX_REPORT_BYTES",
    "ReportColumns",
    "is_report_file",
    "parse_report",
    "read_report",
    "read_reports",
    "section_of",
]

MAX_REPORT_BYTES = 1 << 20
"""Largest text file that is read as a report; a long report has some 20 kB."""

MAX_MESSAGE_BYTES = 1 << 25
"""Largest HL7 or FHIR file: they may carry a document beside the text."""

MAX_TABLE_BYTES = 1 << 30
"""Largest table of reports; CT-RATE's holds some 70 MB."""

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
"""Suffixes of files that hold one report a line."""

_FHIR_HEAD = 4096
_FHIR = re.compile(rb"\"resourceType\"\s*:\s*\"(?:DiagnosticReport|Bundle)\"")


def is_report_file(path: Path, head: bytes) -> bool:
    """Whether a file beside a study's images is its report: text, HL7 version 2 or FHIR. DICOM is told elsewhere.

    Args:
        path: The file.
        head: Its first bytes; 132 do. A JSON file is looked into further.
    """
    from medfuse.ingest.reports.hl7 import is_hl7

    if path.suffix.lower() == ".txt" or is_hl7(head):
        return True
    if path.suffix.lower() != ".json":
        return False
    try:
        with path.open("rb") as file:
            return _FHIR.search(file.read(_FHIR_HEAD)) is not None
    except OSError:
        return False


def read_report(path: Path, *, encoding: str | None = None) -> Report:
    """Read the report of one study: a text file, a DICOM structured report, an HL7 message or a FHIR resource.

    Where an HL7 or FHIR file holds several reports, they follow one another in one.

    Args:
        path: The file; what it is, is told by its first bytes.
        encoding: The code page of a text or an HL7 message where it is known and none of UTF-8, UTF-16, GB18030 and
            Windows-1252, as Python names it.

    Raises:
        UnreadableReportError: The file cannot be read (`UNREADABLE_REPORT`), is larger than a report can be
            (`REPORT_TOO_LARGE`), is not text (`NOT_TEXT`), is in another code page (`UNKNOWN_ENCODING`), holds no text
            (`EMPTY_REPORT`), is no report (`NOT_A_REPORT`), or holds the reports of many studies (`SEVERAL_REPORTS`).
    """
    if path.suffix.lower() in TABLE_SUFFIXES:
        raise _is_table(path)
    head = _read(path, 132, whole=False)
    if may_be_dicom(head):
        from medfuse.ingest.reports.structured import read_structured_report

        return read_structured_report(path)
    kind = _kind(head)
    data = _read(path, MAX_MESSAGE_BYTES if kind else MAX_REPORT_BYTES)
    if kind == "hl7":
        from medfuse.ingest.reports.hl7 import read_hl7

        return _joined([report for _, report in read_hl7(data, path.name, encoding)])
    if kind == "json" and (value := _fhir_or_none(path, data)) is not None:
        from medfuse.ingest.reports.fhir import read_fhir

        return _joined([report for _, report in read_fhir(value, path.name)])
    if len(data) > MAX_REPORT_BYTES:
        raise _too_large(path, MAX_REPORT_BYTES)
    text = decode(data, path.name, encoding)
    if not text.strip():
        raise UnreadableReportError(f"{path.name}: the report is empty", reason="EMPTY_REPORT")
    return parse_report(text)


def read_reports(
    path: Path, *, columns: ReportColumns | None = None, encoding: str | None = None
) -> tuple[tuple[str, Report], ...]:
    """Read every report of a file, each with what says whose it is.

    Args:
        path: A table (CSV, TSV, JSON, JSON lines), HL7 messages, a FHIR Bundle, or any file of `read_report`.
        columns: Which columns of a table hold what; told by their names when left out.
        encoding: The code page where it is known.

    Returns:
        Key and report: the cell of the ID column, HL7's order number, FHIR's identifier, else the file's name without
        suffix. Rows without any text are left out.

    Raises:
        UnreadableReportError: As for `read_report`, or the table has no fitting columns (`NO_REPORT_COLUMNS`).
    """
    suffix = path.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        text = decode(_read(path, MAX_TABLE_BYTES), path.name, encoding)
        if suffix in {".csv", ".tsv"}:
            return read_csv_reports(text, path.name, columns)
        return read_json_reports(_json_lines(text, path), path.name, columns)
    kind = _kind(_read(path, 132, whole=False))
    if kind == "hl7":
        from medfuse.ingest.reports.hl7 import read_hl7

        return _named(read_hl7(_read(path, MAX_MESSAGE_BYTES), path.name, encoding), path)
    if kind == "json" and suffix == ".json":
        return _json_reports(path, columns, encoding)
    return ((path.stem, read_report(path, encoding=encoding)),)


def _json_reports(path: Path, columns: ReportColumns | None, encoding: str | None) -> tuple[tuple[str, Report], ...]:
    """The reports of a JSON file: FHIR, an array of records, or an object of records by their key."""
    from medfuse.ingest.reports.fhir import read_fhir, resource_type

    value = _parsed(decode(_read(path, MAX_TABLE_BYTES), path.name, encoding), path)
    if resource_type(value):
        return _named(read_fhir(value, path.name), path)
    if isinstance(value, list):
        records = [(f"record {n + 1}", record) for n, record in enumerate(value)]
    elif isinstance(value, dict) and value and all(isinstance(one, dict) for one in value.values()):
        records = [(f"record {n + 1}", {"id": key, **one}) for n, (key, one) in enumerate(value.items())]
    else:
        records = [("record 1", value)]
    return read_json_reports(records, path.name, columns)


def _json_lines(text: str, path: Path) -> list[tuple[str, object]]:
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return [(f"line {n}", _parsed(line, path, f"line {n}")) for n, line in lines]


def _parsed(text: str, path: Path, place: str = "") -> object:
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        where = place or f"line {error.lineno}"
        raise UnreadableReportError(f"{path.name}: {where} is no JSON: {error.msg}") from error
    except RecursionError as error:
        raise UnreadableReportError(f"{path.name}: its JSON is nested too deep for a report") from error
    return value


def _fhir_or_none(path: Path, data: bytes) -> object | None:
    """The FHIR resource of a file that begins like JSON, or None for a text that only looks like it."""
    from medfuse.ingest.reports.fhir import resource_type

    if b'"resourceType"' not in data:
        if path.suffix.lower() == ".json":
            raise _is_table(path)
        return None
    value = _parsed(decode(data, path.name), path)
    return value if resource_type(value) else None


def _kind(head: bytes) -> str:
    from medfuse.ingest.reports.hl7 import is_hl7

    if is_hl7(head):
        return "hl7"
    return "json" if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[") else ""


def _read(path: Path, limit: int, *, whole: bool = True) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1 if whole else limit)
    except OSError as error:
        raise UnreadableReportError(f"{path.name}: {error.strerror or 'cannot be read'}") from error
    if whole and len(data) > limit:
        raise _too_large(path, limit)
    return data


def _too_large(path: Path, limit: int) -> UnreadableReportError:
    return UnreadableReportError(
        f"{path.name}: larger than {limit} bytes, which no report is", reason="REPORT_TOO_LARGE"
    )


def _is_table(path: Path) -> UnreadableReportError:
    return UnreadableReportError(
        f"{path.name}: a table of many reports, expected the report of one study; give it to medfuse label-reports",
        reason="SEVERAL_REPORTS",
    )


def _named(found: tuple[tuple[str, Report], ...], path: Path) -> tuple[tuple[str, Report], ...]:
    """The reports of a file; those without a key of their own go by the file's name."""
    return tuple(
        (key or (path.stem if len(found) == 1 else f"{path.stem}-{n + 1}"), r) for n, (key, r) in enumerate(found)
    )


def _joined(reports: list[Report]) -> Report:
    """Several reports one behind another, their sections kept."""
    if len(reports) == 1:
        return reports[0]
    text, sections = "", []
    for report in reports:
        at = len(text)
        text += report.text
        sections += [
            replace(s, start=s.start + at, end=s.end + at, body_start=s.body_start + at) for s in report.sections
        ]
    return Report(text=text, sections=tuple(sections))
