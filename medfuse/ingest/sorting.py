"""Sort the files of a folder by what they hold, whatever they are called."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.files import DICOM_SUFFIXES, has_dicom_magic, may_be_dicom, open_file
from medfuse.ingest.dicom.scan import Instance, instance_of
from medfuse.ingest.dicom.walk import HEAD_BYTES, read_at
from medfuse.ingest.nifti import is_nifti_name
from medfuse.ingest.read_ahead import READ_AHEAD_FILES, read_ahead
from medfuse.ingest.reports.reading import is_report_file
from medfuse.ingest.tree import FoundFile, Tree, list_tree

_MAGIC_BYTES = 132
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
        texts: Files that may be a report.
        problems: Files that promise DICOM and are not, or break off.
        skipped: Reason -> number of files that are none of these.
        n_files: Number of files looked at.
        each: What each of them is, in the order of the tree.
    """

    instances: list[Instance] = field(default_factory=list)
    nifti: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    n_files: int = 0
    each: list["Sorted"] = field(default_factory=list)


def sort_files(root: Path) -> SortedFiles:
    """Sort every file in and below `root`; hidden files and folders are left out."""
    return sort_tree(list_tree(root))


Sorted = Instance | Problem | str
"""What one file is: an instance, a problem, or `NIFTI`, `TEXT`, or the reason why it is skipped."""


def sort_tree(tree: Tree, known: Callable[[FoundFile], Sorted | None] | None = None) -> SortedFiles:
    """Sort the files of a tree.

    Args:
        tree: What to look at.
        known: Gives what a file is that need not be read again, or None.
    """
    found = SortedFiles(n_files=len(tree.files))
    if tree.n_hidden:
        found.skipped["HIDDEN_FILE"] = tree.n_hidden
    before = [known(file) for file in tree.files] if known is not None else [None] * len(tree.files)
    unknown = [file for file, what in zip(tree.files, before, strict=True) if what is None]
    with read_ahead([file.path for file in unknown]) as told:
        for n, (file, what) in enumerate(zip(tree.files, before, strict=True)):
            if n % READ_AHEAD_FILES == 0:
                told()
            _add(sort_file(file) if what is None else what, file, found)
    return found


def _add(what: Sorted, file: FoundFile, found: SortedFiles) -> None:
    found.each.append(what)
    if isinstance(what, Instance):
        found.instances.append(what)
    elif isinstance(what, Problem):
        found.problems.append(what)
    elif what == "NIFTI":
        found.nifti.append(file.path)
    elif what == "TEXT":
        found.texts.append(file.path)
    else:
        found.skipped[what] += 1


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
