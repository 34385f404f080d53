"""LIDC's XML: what up to four readers outlined, how they rated it, and when they mean the same nodule.

Armato et al. 2011, Medical Physics 38(2), 915-931, and the LIDC's documentation of its files. A `readingSession` is one
reader. An `unblindedReadNodule` with `characteristics` is a nodule of 3 mm or more, outlined slice by slice; without
them, and with a single point, it is a nodule under 3 mm. A `nonNodule` is something else of 3 mm or more, a point. The
points of an outline are pixels (column, row), counted from 0; they lie just outside of the nodule and are no part of
it. An outline with `inclusion` FALSE is a hole: what lies inside of it is left out, and so is the outline. (That both
kinds of outline are no part of the nodule was confirmed by the LIDC to pylidc, in its pull request 16.)
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfuse.errors import UnreadableFileError

MOST_XML_BYTES = 64 << 20
"""Largest file that is read; the largest of the data set has some 2 MB."""

MOST_OUTLINE_PIXELS = 4096
"""Furthest row or column that an outline may reach."""

CHARACTERISTICS = (
    "subtlety",
    "internalStructure",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
    "malignancy",
)
"""The ratings of a nodule; whole numbers from 1 to 5, `internalStructure` to 4 and `calcification` to 6."""

_SAME_SLICE_MM = 0.01
_NO_READING = (b"<!DOCTYPE", b"<!ENTITY", b"\0")
"""Bytes that no reading holds: entities, and the encodings (UTF-16) that could hide them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """One closed outline on one slice.

    Args:
        z_mm: `imageZposition`: the slice's position, mm.
        sop_instance_uid: The slice's SOP Instance UID; may be empty.
        points: Pixels (column, row) in order, shape `(n, 2)`.
        is_hole: Whether its inside is left out of the nodule.
    """

    z_mm: float
    sop_instance_uid: str
    points: NDArray[np.int64]
    is_hole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mark:
    """What one reader marked as one thing.

    Args:
        reader: Index of the reading session.
        outlines: Its outlines; a single point for a small nodule or a non-nodule.
        ratings: Characteristic -> rating; empty for a small nodule or a non-nodule.
        is_nodule: False for a non-nodule.
    """

    reader: int
    outlines: tuple[Outline, ...]
    ratings: Mapping[str, int]
    is_nodule: bool = True

    @property
    def is_small(self) -> bool:
        """Whether it is a nodule under 3 mm: marked by a point and not rated."""
        return self.is_nodule and not self.ratings and all(len(outline.points) == 1 for outline in self.outlines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One XML file: the marks of all readers of one CT series.

    Args:
        series_instance_uid: The series; may be empty in a damaged header.
        n_readers: Number of reading sessions.
        marks: All marks, reader by reader.
    """

    series_instance_uid: str
    n_readers: int
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """When readers agree.

    Args:
        min_readers: A nodule counts when at least this many readers outlined it.
        agreement: A voxel counts when at least this share of those readers has it inside.
    """

    min_readers: int = 2
    agreement: float = 0.5

    def __post_init__(self) -> None:
        if self.min_readers < 1 or not 0 < self.agreement <= 1:
            raise ValueError("a consensus takes at least 1 reader and an agreement in (0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodule:
    """The marks of all readers that are of one nodule of 3 mm or more."""

    marks: tuple[Mark, ...]

    @property
    def n_readers(self) -> int:
        """How many readers outlined it."""
        return len({mark.reader for mark in self.marks})

    def mean_rating(self, characteristic: str) -> float | None:
        """The mean of the readers' ratings; None where nobody rated it."""
        ratings = [mark.ratings[characteristic] for mark in self.marks if characteristic in mark.ratings]
        return sum(ratings) / len(ratings) if ratings else None


def read_reading(path: Path) -> Reading | None:
    """Read an XML file of LIDC; None for one that is something else, e.g. the reading of a chest radiograph.

    Raises:
        UnreadableFileError: `UNREADABLE_SEGMENTATION`: the file cannot be read, or holds an outline that is none.
    """
    root = _parse(path)
    if _tag(root) != "LidcReadMessage":
        return None
    try:
        sessions = [element for element in root if _tag(element) == "readingSession"]
        marks = [mark for n, session in enumerate(sessions) for mark in _marks(n, session)]
    except (ValueError, OverflowError) as error:
        raise _unreadable(path, f"holds an outline that is none: {error}") from error
    header = next((element for element in root if _tag(element) == "ResponseHeader"), None)
    uid = "" if header is None else _text(header, "SeriesInstanceUid") or _text(header, "CTSeriesInstanceUid")
    return Reading(series_instance_uid=uid, n_readers=len(sessions), marks=tuple(marks))


def nodules_of(reading: Reading) -> tuple[Nodule, ...]:
    """The nodules of 3 mm or more: marks that share a pixel of a slice, directly or through others, are of one."""
    marks = [mark for mark in reading.marks if mark.is_nodule and mark.outlines and not mark.is_small]
    areas = [areas_of(mark) for mark in marks]
    group = list(range(len(marks)))
    for one in range(len(marks)):
        for other in range(one):
            if group[one] != group[other] and _overlap(areas[one], areas[other]):
                old, new = group[one], group[other]
                group = [new if number == old else number for number in group]
    return tuple(
        Nodule(marks=tuple(mark for mark, number in zip(marks, group, strict=True) if number == wanted))
        for wanted in dict.fromkeys(group)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Area:
    """Pixels of one slice: a mask of columns and rows, and the pixel that its first element is."""

    outline: Outline
    start: tuple[int, int]
    mask: NDArray[np.bool_]


def areas_of(mark: Mark) -> tuple[Area, ...]:
    """The pixels that a mark holds, slice by slice, holes taken out.

    A rated nodule that is but a point or a line on a slice has no pixel inside; it keeps the pixels of the outline, as
    there is nothing else to say where it is.
    """
    areas = []
    for outline in (outline for outline in mark.outlines if not outline.is_hole):
        start, mask = _inside(outline)
        for hole in mark.outlines:
            if hole.is_hole and abs(hole.z_mm - outline.z_mm) < _SAME_SLICE_MM:
                _take_out(mask, start, *_inside(hole))
        areas.append(Area(outline, start, mask))
    return tuple(areas)


def _inside(outline: Outline) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    """The pixels of an outline: neighbouring points joined by lines, and filled.

    The line itself is taken off where it runs around a nodule, and belongs to a hole.
    """
    points = outline.points
    low = points.min(axis=0)
    edge = np.zeros(points.max(axis=0) - low + 1, dtype=bool)
    closed = np.concatenate([points, points[:1]]) - low
    for here, there in itertools.pairwise(closed):
        steps = int(np.abs(there - here).max()) + 1
        line = np.rint(np.linspace(here, there, steps)).astype(np.int64)
        edge[line[:, 0], line[:, 1]] = True
    filled = ndimage.binary_fill_holes(edge)
    inside = filled & ~edge
    return (int(low[0]), int(low[1])), filled if outline.is_hole or not inside.any() else inside


def _take_out(
    mask: NDArray[np.bool_], start: tuple[int, int], hole_start: tuple[int, int], hole: NDArray[np.bool_]
) -> None:
    indices = np.argwhere(hole) + np.asarray(hole_start) - np.asarray(start)
    within = ((indices >= 0) & (indices < mask.shape)).all(axis=1)
    mask[indices[within, 0], indices[within, 1]] = False


def _overlap(first: Sequence[Area], second: Sequence[Area]) -> bool:
    return any(
        abs(one.outline.z_mm - other.outline.z_mm) < _SAME_SLICE_MM and _share_pixel(one, other)
        for one in first
        for other in second
    )


def _share_pixel(one: Area, other: Area) -> bool:
    low = np.maximum(one.start, other.start)
    high = np.minimum(np.add(one.start, one.mask.shape), np.add(other.start, other.mask.shape))
    if (high <= low).any():
        return False
    first, second = (
        area.mask[low[0] - area.start[0] : high[0] - area.start[0], low[1] - area.start[1] : high[1] - area.start[1]]
        for area in (one, other)
    )
    return bool((first & second).any())


def _parse(path: Path) -> ElementTree.Element:
    """The tree of a file. Document types are refused: LIDC's files have none, and entities could grow without end."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_XML_BYTES + 1)
        if len(data) > MOST_XML_BYTES or any(mark in data for mark in _NO_READING):
            raise _unreadable(path, "is too large, defines entities or is not UTF-8, unlike any reading")
        return ElementTree.fromstring(data)  # noqa: S314  (no document type, so no entities)
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise _unreadable(path, f"is no readable XML ({type(error).__name__})") from error


def _unreadable(path: Path, what: str) -> UnreadableFileError:
    return UnreadableFileError(f"{path.name} {what}", reason="UNREADABLE_SEGMENTATION")


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: ElementTree.Element, tag: str) -> list[ElementTree.Element]:
    return [child for child in element if _tag(child) == tag]


def _text(element: ElementTree.Element, tag: str) -> str:
    return next(((child.text or "").strip() for child in _children(element, tag)), "")


def _marks(reader: int, session: ElementTree.Element) -> list[Mark]:
    marks = []
    for element in session:
        if _tag(element) == "unblindedReadNodule":
            outlines = tuple(_outline(roi) for roi in _children(element, "roi"))
            marks.append(Mark(reader=reader, outlines=outlines, ratings=_ratings(element)))
        elif _tag(element) == "nonNodule":
            point = _children(element, "locus")
            outline = (_outline(element, point),) if point else ()
            marks.append(Mark(reader=reader, outlines=outline, ratings={}, is_nodule=False))
    return marks


def _outline(element: ElementTree.Element, points: Sequence[ElementTree.Element] | None = None) -> Outline:
    pixels = [(int(_text(p, "xCoord")), int(_text(p, "yCoord"))) for p in points or _children(element, "edgeMap")]
    if not pixels or min(map(min, pixels)) < 0 or max(map(max, pixels)) >= MOST_OUTLINE_PIXELS:
        raise ValueError(f"{len(pixels)} points, expected one or more from 0 to {MOST_OUTLINE_PIXELS - 1}")
    z_mm = float(_text(element, "imageZposition"))
    if not math.isfinite(z_mm):
        raise ValueError("imageZposition is no number")
    return Outline(
        z_mm=z_mm,
        sop_instance_uid=_text(element, "imageSOP_UID"),
        points=np.array(pixels, dtype=np.int64),
        is_hole=_text(element, "inclusion").upper() == "FALSE",
    )


def _ratings(element: ElementTree.Element) -> dict[str, int]:
    found = _children(element, "characteristics")
    texts = {name: _text(found[0], name) for name in CHARACTERISTICS} if found else {}
    return {
        name: int(text) for name, text in texts.items() if text.isascii() and text.isdecimal() and 1 <= int(text) <= 6
    }
