"""Walk a folder once and sort its files by what they hold, whatever they are called."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.files import DICOM_SUFFIXES, has_dicom_magic, may_be_dicom
from medfuse.ingest.dicom.scan import Instance, read_instance
from medfuse.ingest.nifti import is_nifti_name

_HEAD_BYTES = 132
_LISTED_PATHS = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that cannot be used, and a stable code for why."""

    reason: str
    path: Path


@dataclass(slots=True)
class SortedFiles:
    """The files under a root, by what they are.

    Args:
        instances: DICOM files whose header could be read.
        nifti: Files named like NIfTI.
        texts: Files named `.txt`.
        problems: Files that promise DICOM and are not, or break off.
        skipped: Reason -> number of files that are none of these.
        has_dicom: Whether at least one file has DICOM's magic bytes.
        n_files: Number of files looked at.
    """

    instances: list[Instance] = field(default_factory=list)
    nifti: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    has_dicom: bool = False
    n_files: int = 0


def sort_files(root: Path) -> SortedFiles:
    """Sort every file in and below `root`; hidden files and folders are left out."""
    found = SortedFiles()
    for path in _walk(root, found):
        found.n_files += 1
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD_BYTES)
        except OSError:
            found.problems.append(Problem("UNREADABLE_FILE", path))
            continue
        _sort_file(path, head, found)
    return found


def problem_lines(problems: Iterable[Problem], root: Path) -> list[str]:
    """One `REASON: detail` line for each reason, naming the first few files by their path below `root`."""
    paths: dict[str, list[str]] = {}
    for problem in problems:
        paths.setdefault(problem.reason, []).append(problem.path.relative_to(root).as_posix())
    lines = []
    for reason, named in sorted(paths.items()):
        more = len(named) - _LISTED_PATHS
        listed = ", ".join(sorted(named)[:_LISTED_PATHS]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"{reason}: {len(named)} file{'s' if len(named) > 1 else ''}: {listed}")
    return lines


def _sort_file(path: Path, head: bytes, found: SortedFiles) -> None:
    promises_dicom = path.suffix.lower() in DICOM_SUFFIXES
    is_dicom = has_dicom_magic(head)
    is_blank_start = len(head) < _HEAD_BYTES and not head.strip(b"\0")
    if is_nifti_name(path) and not is_dicom:
        found.nifti.append(path)
    elif path.suffix.lower() == ".txt" and not is_dicom:
        found.texts.append(path)
    elif may_be_dicom(head):
        _read_dicom(path, found, promises_dicom=promises_dicom or is_dicom)
        found.has_dicom |= is_dicom
    elif is_blank_start and (promises_dicom or not path.suffix):
        found.problems.append(Problem("TRUNCATED_FILE", path))
    elif promises_dicom:
        found.problems.append(Problem("NOT_DICOM", path))
    else:
        found.skipped["OTHER_FILE"] += 1


def _read_dicom(path: Path, found: SortedFiles, *, promises_dicom: bool) -> None:
    try:
        found.instances.append(read_instance(path))
    except UnreadableFileError as error:
        if promises_dicom:
            found.problems.append(Problem(error.reason, path))
        else:
            found.skipped["OTHER_FILE"] += 1


def _walk(root: Path, found: SortedFiles) -> Iterator[Path]:
    """Files below `root` in a fixed order; links to folders are followed, each folder once, so that loops end."""
    if root.is_file():
        yield root
        return
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(root, followlinks=True):
        folder = Path(place)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = folder / name
            if name.startswith(".") or not path.is_file():
                found.skipped["HIDDEN_FILE"] += 1
            else:
                yield path
