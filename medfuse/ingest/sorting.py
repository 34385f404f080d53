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
    return sort_tree(list_tree(root))


def sort_tree(tree: Tree, known: Callable[[FoundFile], Instance | None] | None = None) -> SortedFiles:
    """Sort the files of a tree.

    Args:
        tree: What to look at.
        known: Gives the instance of a DICOM file that need not be read again, or None.
    """
    found = SortedFiles()
    if tree.n_hidden:
        found.skipped["HIDDEN_FILE"] = tree.n_hidden
    for file in tree.files:
        found.n_files += 1
        instance = known(file) if known is not None else None
        if instance is not None:
            found.instances.append(instance)
            found.has_dicom = True
            continue
        try:
            head = read_at(file.path, HEAD_BYTES, 0)
        except OSError:
            found.problems.append(Problem("UNREADABLE_FILE", file.path))
            continue
        _sort_file(file, head, found)
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


def _sort_file(file: FoundFile, head: bytes, found: SortedFiles) -> None:
    path = file.path
    is_dicom = has_dicom_magic(head)
    if is_dicom and file.size >= len(head):
        found.has_dicom = True
        _read_dicom(file, head, found, promises_dicom=True)
        return
    suffix = path.suffix.lower()
    promises_dicom = suffix in DICOM_SUFFIXES
    is_blank_start = len(head) < _MAGIC_BYTES and not head.strip(b"\0")
    if is_nifti_name(path):
        found.nifti.append(path)
    elif suffix == ".txt":
        found.texts.append(path)
    elif may_be_dicom(head):
        _read_dicom(file, head, found, promises_dicom=promises_dicom)
    elif is_blank_start and (promises_dicom or not suffix):
        found.problems.append(Problem("TRUNCATED_FILE", path))
    elif promises_dicom:
        found.problems.append(Problem("NOT_DICOM", path))
    else:
        found.skipped["OTHER_FILE"] += 1


def _read_dicom(file: FoundFile, head: bytes, found: SortedFiles, *, promises_dicom: bool) -> None:
    try:
        found.instances.append(instance_of(open_file(file.path, size=file.size, head=head)))
    except UnreadableFileError as error:
        if promises_dicom:
            found.problems.append(Problem(error.reason, file.path))
        else:
            found.skipped["OTHER_FILE"] += 1
