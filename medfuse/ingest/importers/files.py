"""The files of a data set: names without junk, its JSON description, and series of NIfTI files."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from medfuse.domain import Acquisition, HeaderCorrection, Modality, Series
from medfuse.errors import UnreadableFileError, UsageError
from medfuse.ingest.nifti import nifti_series

MOST_JSON_BYTES = 16 << 20
"""Largest description of a data set that is read."""


def visible(folder: Path, skipped: Counter[str] | None = None) -> list[Path]:
    """The entries of a folder by name, without hidden ones (macOS archives hold `._*`, `.DS_Store`, `__MACOSX`).

    Args:
        folder: One that may be missing.
        skipped: Counts the hidden files as `HIDDEN_FILE`.
    """
    if not folder.is_dir():
        return []
    kept = []
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.name != "__MACOSX":
            kept.append(path)
        elif skipped is not None:
            skipped["HIDDEN_FILE"] += path.is_file()
    return kept


def glance(folder: Path, most: int = 200) -> list[os.DirEntry[str]]:
    """The first entries of a folder without hidden ones, in the system's order; none where it cannot be read.

    Detecting a layout has to cost nothing beside reading a tree, so it never lists a large folder whole.
    """
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    found.append(entry)
                if len(found) == most:
                    break
    except OSError:
        return []
    return found


def look_down(root: Path, *, depth: int, most: int) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Folders from `root` downwards with their first entries: first children first, at most `most` folders in all.

    Args:
        root: Where to start; it counts as depth 0.
        depth: Deepest level that is looked at.
        most: How many folders are looked at.
    """
    waiting = [(root, 0)]
    for _ in range(most):
        if not waiting:
            return
        folder, level = waiting.pop()
        entries = glance(folder)
        yield folder, entries
        if level < depth:
            below = [entry for entry in entries if entry.is_dir()][:most]
            waiting += [(folder / entry.name, level + 1) for entry in reversed(below)]


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UsageError: It cannot be read, is too large or is no JSON in UTF-8.
    """
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise UsageError(f"{path}: larger than {MOST_JSON_BYTES} bytes, which no description of a data set is")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}: no valid JSON at line {error.lineno}: {error.msg}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: no valid JSON in UTF-8") from error


def series_or_problem(
    path: Path,
    problems: list[str],
    *,
    uid_parts: tuple[str, ...],
    modality: Modality,
    description: str = "",
    number: int | None = None,
    acquisition: Acquisition | None = None,
    correction: HeaderCorrection | None = None,
) -> tuple[Series, ...]:
    """The one series of a 3D file, or none and a line in `problems`; see `nifti_series` for the arguments."""
    place = f"{path.parent.name}/{path.name}"
    try:
        found = nifti_series(
            path,
            uid_parts=uid_parts,
            channels=((description, modality),),
            acquisition=acquisition,
            correction=correction,
        )
    except UnreadableFileError as error:
        problems.append(f"{error.reason}: {error.detail.replace(path.name, place)}")
        return ()
    if len(found) > 1:
        problems.append(f"CHANNEL_MISMATCH: {place} holds {len(found)} volumes, expected one")
        return ()
    return tuple(replace(series, number=number, channel=None if series.channel is None else 0) for series in found)
