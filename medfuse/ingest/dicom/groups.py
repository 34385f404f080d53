"""Named groups of frames, which splitting a series makes smaller step by step."""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from medfuse.ingest.dicom.frames import Frame

Groups = list[tuple[str, list[Frame]]]
"""What tells each group from the others, and its frames."""


def grouped(frames: Sequence[Frame], labels: Iterable[Hashable]) -> dict[Hashable, list[Frame]]:
    """Frames by label, in the order in which labels appear."""
    groups: dict[Hashable, list[Frame]] = defaultdict(list)
    for frame, label in zip(frames, labels, strict=True):
        groups[label].append(frame)
    return dict(groups)


def joined(*names: str) -> str:
    """One name of several, empty ones left out."""
    return "_".join(name for name in names if name)


def slug(word: str) -> str:
    """A word in lower case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")


def natural(name: str) -> list[tuple[str, int]]:
    """Sort key under which `echo-10` follows `echo-2`."""
    return [(letters, int(digits or 0)) for letters, digits in re.findall(r"([^\d]*)(\d*)", name)]
