"""Hashes that tell whether a study, a model or the settings are those of an earlier result."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medfuse.domain import Study
from medfuse.ingest.tree import list_tree

SMALL_BYTES = 64 << 10
"""Files up to this size are hashed by their content, larger ones by size and time of change."""


def input_hash(study: Study) -> str:
    """The hash of what scoring reads of a study: its image files and the text of its reports.

    A small file counts by its content; a larger one by its size and its time of last change, since reading it would
    take as long as scoring it. A file that is gone counts as gone.
    """
    digest = hashlib.blake2b(digest_size=16)
    for series in study.series:
        digest.update(f"{series.key}\0{series.channel}\0{series.correction}\0".encode(errors="surrogateescape"))
        for mark in sorted(map(_mark, series.files)):
            digest.update(mark)
    for report in study.reports:
        digest.update(b"\1" + report.text.encode(errors="surrogateescape"))
    return digest.hexdigest()


def tree_hash(root: Path) -> str:
    """The hash of the names, sizes and times of last change of all files below a folder; none is opened.

    Raises:
        OSError: The folder cannot be listed.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in list_tree(root).files:
        name = file.path.relative_to(root).as_posix()
        digest.update(f"{name}\0{file.size}\0{file.modified_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def files_hash(paths: Iterable[Path]) -> str:
    """The hash of the contents of some files, in order.

    Raises:
        OSError: One cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        content = path.read_bytes()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def text_hash(*parts: str) -> str:
    """The hash of some texts, in order."""
    return hashlib.blake2b("\0".join(parts).encode(errors="surrogateescape"), digest_size=16).hexdigest()


def settings_hash(settings: Mapping[str, Any]) -> str:
    """The hash of plain data, whatever the order of its keys."""
    return text_hash(json.dumps(settings, sort_keys=True, default=str))


def _mark(path: Path) -> bytes:
    name = path.name.encode(errors="surrogateescape")
    try:
        status = path.stat()
        if status.st_size <= SMALL_BYTES:
            return name + b"\0=" + hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError:
        return name + b"\0-"
    return name + f"\0{status.st_size}\0{status.st_mtime_ns}".encode()
