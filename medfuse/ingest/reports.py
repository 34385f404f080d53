"""Reports from files: `read_report` for one report, `read_reports` for files that hold many.

What a file is, is told by its first bytes, whatever its name: DICOM (a structured report), HL7 version 2 (`MSH|`), JSON
(FHIR, or records), else text; CSV by its suffix. Encapsulated documents in DICOM (PDF, CDA) are left out: a PDF's text
has no order that could be relied on, and the CDA ones that occur carry the same narrative as the SR or HL7 beside them.
"""

from pathlib import Path

from medfuse.domain import Report
from medfuse.errors import UnreadableReportError
from medfuse.ingest.decoding import decode
from medfuse.ingest.dicom.files import may_be_dicom
from medfuse.ingest.sectioning import parse_report, section_of

__all__ = ["MAX_REPORT_BYTES", "parse_report", "read_report", "section_of"]

MAX_REPORT_BYTES = 1 << 20
"""Largest report file that is read; a long report has some 20 kB."""


def read_report(path: Path) -> Report:
    """Read a report from a text file, or from a DICOM structured report.

    Args:
        path: The file. Whether it is DICOM is told by its first bytes, whatever its name.

    Raises:
        UnreadableReportError: The file cannot be read (`UNREADABLE_REPORT`), is larger than `MAX_REPORT_BYTES`
            (`REPORT_TOO_LARGE`), is not text (`NOT_TEXT`), is in another code page (`UNKNOWN_ENCODING`), holds no text
            (`EMPTY_REPORT`), or is DICOM but no report (`NOT_A_REPORT`).
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_REPORT_BYTES + 1)
    except OSError as error:
        raise UnreadableReportError(f"{path.name}: {error.strerror or 'cannot be read'}") from error
    if len(data) > MAX_REPORT_BYTES:
        raise UnreadableReportError(
            f"{path.name}: larger than {MAX_REPORT_BYTES} bytes, which no report is", reason="REPORT_TOO_LARGE"
        )
    if may_be_dicom(data[:132]):
        from medfuse.ingest.structured_reports import read_structured_report

        return read_structured_report(path)
    text = decode(data, path.name)
    if not text.strip():
        raise UnreadableReportError(f"{path.name}: the report is empty", reason="EMPTY_REPORT")
    return parse_report(text)
