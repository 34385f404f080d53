"""What one file is: by its first bytes, its header if it has one, and its name if nothing else tells."""

from dataclasses import dataclass
from pathlib import Path

from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.files import DICOM_SUFFIXES, has_dicom_magic, may_be_dicom, open_file
from medfuse.ingest.dicom.scan import Instance, instance_of
from medfuse.ingest.dicom.walk import HEAD_BYTES, read_at
from medfuse.ingest.nifti import is_nifti_name
from medfuse.ingest.reports.reading import is_report_file
from medfuse.ingest.tree import FoundFile

_MAGIC_BYTES = 132


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that cannot be used, and a stable code for why."""

    reason: str
    path: Path


Sorted = Instance | Problem | str
"""What one file is: an instance, a problem, or `NIFTI`, `TEXT`, or the reason why it is skipped."""


def sort_file(file: FoundFile) -> Sorted:
    """What a file is, by its first bytes, its header if it has one, and its name if nothing else tells."""
    try:
        head = read_at(file.path, HEAD_BYTES, 0)
    except OSError:
        return Problem("UNREADABLE_FILE", file.path)
    if has_dicom_magic(head):
        return _read_dicom(file, head, promises_dicom=True)
    path = file.path
    suffix = path.suffix.lower()
    promises_dicom = suffix in DICOM_SUFFIXES
    if is_nifti_name(path):
        return "NIFTI"
    if is_report_file(path, head):
        return "TEXT"
    if may_be_dicom(head):
        return _read_dicom(file, head, promises_dicom=promises_dicom)
    is_blank_start = len(head) < _MAGIC_BYTES and not head.strip(b"\0")
    if is_blank_start and (promises_dicom or not suffix):
        return Problem("TRUNCATED_FILE", path)
    return Problem("NOT_DICOM", path) if promises_dicom else "OTHER_FILE"


def _read_dicom(file: FoundFile, head: bytes, *, promises_dicom: bool) -> Sorted:
    try:
        return instance_of(open_file(file.path, size=file.size, head=head))
    except UnreadableFileError as error:
        if has_dicom_magic(head) and error.reason == "NOT_DICOM":
            return Problem("TRUNCATED_FILE", file.path)
        return Problem(error.reason, file.path) if promises_dicom else "OTHER_FILE"
