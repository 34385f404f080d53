"""What was read of a tree of DICOM files, kept for the next time.

Two files a tree, in the user's cache folder: what the tree holds, for as long as no name, size, time or inode under it
changes; and what each header said, for the files that stay when others change. No name of a person, file or folder is
in them, no Patient ID, accession number or text of a report: files are numbered as the walk finds them, and whose
they are is read again from one header a study. Only the user may read them.

Whatever cannot be trusted (damaged, foreign, of another version of medfuse) is as good as nothing. Files are written
aside and renamed, so that runs side by side do not disturb each other: the last one stays.
"""

import contextlib
import json
import logging
import os
from collections.abc import Sequence
from functools import cache, cached_property
from hashlib import blake2b
from pathlib import Path
from types import EllipsisType
from typing import Any, NamedTuple

import pydicom
from platformdirs import user_cache_path

import medfuse
from medfuse.errors import StorageError, UnreadableFileError
from medfuse.ingest.cache_entries import DraftEntries, FileEntries
from medfuse.ingest.file_kinds import Sorted
from medfuse.ingest.grouping import Draft
from medfuse.ingest.tree import FoundFile, Tree
from medfuse.storage import write_file

CACHE_VARIABLE = "MEDFUSE_CACHE_DIR"
"""Environment variable that names the cache folder."""

LEAST_FILES = 1000
"""Trees of fewer files are read again: that takes less than a tenth of a second."""

_FORMAT = "medfuse index 1"
_MOST_TREES = 32
_BROKEN = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, UnreadableFileError)

logger = logging.getLogger(__name__)


class KnownTree(NamedTuple):
    """What an unchanged tree holds."""

    drafts: list[Draft]
    skipped: dict[str, int]


class IndexCache:
    """What is kept of one tree.

    Args:
        tree: The tree as it is now.
        folder: Where it is kept.
    """

    def __init__(self, tree: Tree, folder: Path) -> None:
        self._tree = tree
        self._folder = folder
        name = blake2b(os.fsencode(tree.root.resolve()), digest_size=16).hexdigest()
        self._tree_path = folder / f"{name}.tree.json"
        self._files_path = folder / f"{name}.files.json"

    @classmethod
    def of(cls, tree: Tree, folder: Path | EllipsisType | None) -> "IndexCache | None":
        """The cache of a tree in a folder; in the user's for large trees when that is left open; None for no cache."""
        if isinstance(folder, Path):
            return cls(tree, folder)
        if folder is None or len(tree.files) < LEAST_FILES:
            return None
        named = os.environ.get(CACHE_VARIABLE)
        return cls(tree, Path(named) if named else user_cache_path("medfuse"))

    def unchanged(self) -> KnownTree | None:
        """What the tree holds, if nothing in it has changed and all of it is known."""
        try:
            kept = _read(self._tree_path)
            if kept is None or kept["tree"] != self._tree.fingerprint:
                return None
            names = DraftEntries(self._tree)
            drafts = [names.draft(entry) for entry in kept["drafts"]]
            skipped = {str(reason): int(count) for reason, count in kept["skipped"].items()}
        except _BROKEN as error:
            logger.info("the index cache cannot be used (%s)", type(error).__name__)
            return None
        with contextlib.suppress(OSError):
            os.utime(self._tree_path)
        return KnownTree(drafts, skipped)

    def known_file(self, file: FoundFile) -> Sorted | None:
        """What a file is, if it was looked at before and has not changed since."""
        try:
            return self._known_files.what(file)
        except _BROKEN:
            return None

    def write(self, drafts: Sequence[Draft], skipped: dict[str, int], each: Sequence[Sorted]) -> None:
        """Keep what a tree holds.

        Args:
            drafts: Its studies.
            skipped: Reason -> number of files.
            each: What each of its files is.
        """
        names = DraftEntries(self._tree)
        kept = {
            "tree": self._tree.fingerprint,
            "drafts": [names.entry(draft) for draft in drafts],
            "skipped": dict(skipped),
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(self._files_path, FileEntries.entries(self._tree.files, each))
            _write(self._tree_path, kept)
            _forget_oldest(self._folder)
        except (StorageError, OSError) as error:
            logger.info("the index cache cannot be written (%s)", type(error).__name__)

    @cached_property
    def _known_files(self) -> "FileEntries":
        try:
            kept = _read(self._files_path)
            return FileEntries(self._tree, kept or {})
        except _BROKEN:
            return FileEntries(self._tree, {})


@cache
def _stamp() -> str:
    """Changes with the code that reads headers."""
    place = Path(__file__).parent
    marks = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(place.rglob("*.py"))]
    return blake2b(repr((medfuse.__version__, pydicom.__version__, marks)).encode(), digest_size=16).hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    """The content of a cache file; None where there is none that can be trusted."""
    try:
        head, body = path.read_bytes().split(b"\n", 1)
    except (OSError, ValueError):
        return None
    told = json.loads(head)
    if told != [_FORMAT, _stamp(), blake2b(body, digest_size=16).hexdigest()]:
        return None
    kept = json.loads(body)
    return kept if isinstance(kept, dict) else None


def _write(path: Path, kept: dict[str, Any]) -> None:
    body = json.dumps(kept, separators=(",", ":")).encode()
    head = json.dumps([_FORMAT, _stamp(), blake2b(body, digest_size=16).hexdigest()]).encode()

    def write(aside: Path) -> None:
        aside.touch(mode=0o600, exist_ok=False)
        aside.write_bytes(head + b"\n" + body)

    write_file(path, write)


def _forget_oldest(folder: Path) -> None:
    """Keep what is kept of the trees looked at last."""
    kept = sorted(folder.glob("*.tree.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[_MOST_TREES:]:
        path.unlink(missing_ok=True)
        path.with_name(path.name.replace(".tree.", ".files.")).unlink(missing_ok=True)
