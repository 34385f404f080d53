"""A stack of several spacings (thin slices, then thick ones) -> blocks of one spacing.

Slices that went missing also leave wider gaps. They make no block: a hole lies between slices of one spacing and is a
few of these spacings wide; a block goes on with its own spacing, or with its own slice thickness.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medfuse.ingest.dicom.frames import Frame
from medfuse.ingest.dicom.groups import Groups
from medfuse.ingest.dicom.stack import SPACING_TOLERANCE, distances_of, gap_units, same_position_mm

_SHORTEST_BLOCK_GAPS = 3
"""Equal gaps in a row that make a block where the slice thickness does not tell."""


def blocks_of(frames: list[Frame]) -> Groups:
    """Runs of one spacing, in ascending order; one group where there is one spacing, with or without holes."""
    if len(frames) < 4:
        return [("", frames)]
    distances = distances_of(frames)
    order = np.argsort(distances, kind="stable")
    gaps = np.diff(distances[order])
    if (gaps <= same_position_mm(gaps)).any():
        return [("", frames)]
    multiples = gap_units(gaps)[1]
    if multiples is not None and multiples.max() == 1:
        return [("", frames)]
    ordered = [frames[n] for n in order]
    runs = _without_holes(_runs(gaps), gaps)
    thickness = [frame.facts.acquisition.thickness_mm for frame in ordered]
    bounds = _bounds(runs, thickness)
    covered = [n for start, stop in bounds for n in range(start, stop)]
    are_holes = multiples is not None and not _are_blocks(runs, thickness)
    if are_holes or covered != list(range(len(ordered))) or any(stop - start < 2 for start, stop in bounds):
        return [("", frames)]
    return [(f"block-{rank}", ordered[start:stop]) for rank, (start, stop) in enumerate(bounds, start=1)]


def _runs(gaps: NDArray[np.float64]) -> list[tuple[int, int]]:
    """First and last slice of each run of two or more equal gaps."""
    runs = []
    start = 0
    for n in range(1, len(gaps) + 1):
        if n == len(gaps) or abs(gaps[n] - gaps[start]) > SPACING_TOLERANCE * max(gaps[n], gaps[start]):
            if n - start >= 2:
                runs.append((start, n))
            start = n
    return runs


def _without_holes(runs: Sequence[tuple[int, int]], gaps: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Join neighbouring runs of one spacing where the gap between them is a hole: a few whole spacings wide."""
    kept: list[tuple[int, int]] = []
    for first, last in runs:
        if kept and kept[-1][1] + 1 == first:
            gap, unit = float(gaps[first - 1]), float(gaps[first])
            multiple = round(gap / unit)
            is_hole = 1 < multiple <= len(gaps) + 1 and abs(gap - multiple * unit) <= 2 * SPACING_TOLERANCE * unit
            if is_hole and abs(gaps[kept[-1][0]] - unit) <= SPACING_TOLERANCE * unit:
                kept[-1] = (kept[-1][0], last)
                continue
        kept.append((first, last))
    return kept


def _are_blocks(runs: Sequence[tuple[int, int]], thickness: Sequence[float | None]) -> bool:
    """Whether gaps that are whole multiples of the smallest are blocks on purpose, not slices that went missing."""
    if len(runs) < 2:
        return False
    middle = {thickness[(first + last) // 2] for first, last in runs}
    return len(middle) > 1 or all(last - first >= _SHORTEST_BLOCK_GAPS for first, last in runs)


def _bounds(runs: Sequence[tuple[int, int]], thickness: Sequence[float | None]) -> list[tuple[int, int]]:
    """Slices from first to behind the last of each block; a slice between two runs goes to the one of its thickness."""
    bounds: list[tuple[int, int]] = []
    for first, last in runs:
        start = first
        if bounds and bounds[-1][1] == first + 1:
            if thickness[first] == thickness[last] != thickness[bounds[-1][0]]:
                bounds[-1] = (bounds[-1][0], first)
            else:
                start = first + 1
        bounds.append((start, last + 1))
    return bounds
