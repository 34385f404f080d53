"""Where reports come from: a folder of studies or of reports, a manifest, a table; each with the study it is of."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from medfuse.domain import Report, Study
from medfuse.errors import StudyError, UsageError
from medfuse.ingest.dicom.files import may_be_dicom
from medfuse.ingest.labels import KEY_COLUMNS
from medfuse.ingest.manifest import COLUMNS, read_manifest, study_of
from medfuse.ingest.reports.reading import is_report_file, read_reports
from medfuse.ingest.reports.tables import ID_COLUMNS, ReportColumns
from medfuse.ingest.scan import find_studies

Studies = list[tuple[str, Sequence[Report]]]
"""Key of a study, and its reports."""

Found = tuple[Studies, str, list[str]]
"""The studies, the column of a label file that their keys belong in, and one line for each that could not be read."""

_UID = "study_instance_uid"
_ACCESSION = "accession_number"


def is_manifest(path: Path) -> bool:
    """Whether a file's first line names the columns of a manifest."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            header = next(csv.reader([file.readline(1 << 16)]), [])
    except (OSError, csv.Error):
        return False
    return {column.name for column in COLUMNS} <= set(header)


def of_manifest(path: Path) -> Found:
    """The studies of a manifest, found again in their folders.

    Raises:
        ManifestError: The manifest cannot be read.
    """
    studies: Studies = []
    failures = []
    for row in read_manifest(path):
        try:
            study = study_of(row)
        except StudyError as error:
            failures.append(f"{error.reason}: study {row.study_instance_uid}: {error.detail}")
            continue
        studies.append((study.study_instance_uid, study.reports))
        failures += _problems(study)
    return studies, _UID, failures


def of_folder(folder: Path, encoding: str | None = None) -> Found:
    """The studies of a folder; where it holds no images, each report in it, which then goes by its file's name.

    Raises:
        UsageError: The folder holds neither studies nor reports, or two reports of one name.
    """
    try:
        found = find_studies(folder).studies
    except UsageError:
        found = ()
    if found:
        failures = [line for study in found for line in _problems(study)]
        return [(study.study_instance_uid, study.reports) for study in found], _UID, failures
    studies: dict[str, list[Report]] = {}
    places: dict[str, Path] = {}
    failures = []
    for path in _report_files(folder):
        name = path.relative_to(folder).as_posix()
        try:
            read = read_reports(path, encoding=encoding)
        except StudyError as error:
            failures.append(f"{error.reason}: {name}: {error.detail.removeprefix(f'{path.name}: ')}")
            continue
        for key, report in read:
            if key in studies and places[key] != path:
                first = places[key].relative_to(folder).as_posix()
                raise UsageError(f"{name} and {first} are reports of the same key; keep one, or name them apart")
            studies.setdefault(key, []).append(report)
            places[key] = path
    if not studies and not failures:
        raise UsageError(f"{folder} holds no studies and no reports")
    return list(studies.items()), _ACCESSION, failures


def of_table(path: Path, columns: ReportColumns | None = None, encoding: str | None = None) -> Found:
    """The reports of a table or of one file.

    Raises:
        UnreadableReportError: It cannot be read, or its columns cannot be told.
    """
    read = read_reports(path, columns=columns, encoding=encoding)
    studies: dict[str, list[Report]] = {}
    for key, report in read:
        studies.setdefault(key, []).append(report)
    return list(studies.items()), _key_column(path, columns), []


def _key_column(path: Path, columns: ReportColumns | None) -> str:
    """What the keys of a table are, by the name of its ID column; accession numbers where that says nothing."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            first = file.readline(1 << 16)
    except OSError:
        return _ACCESSION
    named = (columns.id or "") if columns else ""
    known = {**{name: name for name in KEY_COLUMNS}, "studyinstanceuid": _UID, "accessionnumber": _ACCESSION}
    words = [named.lower()] if named else [cell.strip().strip('"').lower() for cell in re.split(r"[,;\t]", first)]
    return next((known[one] for one in ID_COLUMNS if one in words and one in known), _ACCESSION)


def _problems(study: Study) -> list[str]:
    """The lines of a study about reports that could not be read."""
    reasons = ("UNREADABLE_REPORT", "REPORT_TOO_LARGE", "NOT_TEXT", "UNKNOWN_ENCODING", "EMPTY_REPORT", "NOT_A_REPORT")
    return [line for line in study.problems if line.startswith(reasons)]


def _report_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            with path.open("rb") as file:
                head = file.read(132)
        except OSError:
            continue
        if is_report_file(path, head) or may_be_dicom(head):
            yield path
