"""Sort the files of a folder by what they hold, whatever they are called."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from medfuse.ingest.dicom.scan import Instance
from medfuse.ingest.file_kinds import Problem, Sorted
from medfuse.ingest.looking import look_at
from medfuse.ingest.tree import FoundFile, Tree, list_tree

_LISTED_PATHS = 3


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
    fresh = iter(look_at([file for file, what in zip(tree.files, before, strict=True) if what is None]))
    for file, what in zip(tree.files, before, strict=True):
        _add(next(fresh) if what is None else what, file, found)
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
