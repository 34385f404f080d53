"""The frames of one DICOM series -> the volumes that it holds, each with a stable name.

1. Frames of another matrix, orientation, pixel spacing, frame of reference or Stack ID lie on another grid.
2. Frames of another kind (phase, real), echo or b-value are another volume. What else the header says (kernel,
   thickness, Image Type) makes another volume only where both lie over one stretch of the patient: an Acquisition
   Number or an exposure that changes along one contiguous stack does not cut it (dcm2niix issues 468 and 590).
3. Where several frames still lie at one position, the first element of the header tells them apart that divides them
   into whole stacks; then the order of their times, then of their instance numbers. Two phases are never stacked.
4. A stack of several spacings is cut into blocks of one spacing.

A name is made of what tells the part apart (`echo-2`, `phase`, `b-1000`, `time-3`, `orientation-2`); ranks are by the
values themselves, so that neither file names nor their order matter.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Acquisition
from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.blocks import blocks_of
from medfuse.ingest.dicom.distinguish import rescued, volumes_of
from medfuse.ingest.dicom.frames import Frame
from medfuse.ingest.dicom.groups import Groups, grouped, joined, natural
from medfuse.ingest.dicom.stack import ORIENTATION_TOLERANCE, Stack, check_frames, make_stack

OBLIQUE_DEGREES = 25.0
"""A slice normal further than this from every body axis is oblique."""

_Leaf = tuple[str, Sequence[Frame], Stack | None, UnreadableSeriesError | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One volume of a series, or what is left of the series where it is none.

    Args:
        name: What tells it from the other parts; empty when it is the only one.
        frames: Its frames, k ascending where there is a stack.
        stack: Its grid; also given for missing slices, which may be filled in.
        refusal: Why it is no volume as it is, or None.
        acquisition: How it was made.
        files: The files to read to find this part again: its own, or all of the series where a file holds several.
        notes: What was left out, one sentence each.
    """

    name: str
    frames: tuple[Frame, ...]
    stack: Stack | None
    refusal: UnreadableSeriesError | None
    acquisition: Acquisition
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def parts_of(frames: Sequence[Frame]) -> tuple[Part, ...]:
    """Split the frames of one series into volumes.

    Args:
        frames: All of its frames, in any order.

    Returns:
        At least one part, in the order of their names; the parts of a part's frames are that part alone.
    """
    if not frames:
        raise UnreadableSeriesError("has no frames", reason="MISSING_GEOMETRY")
    kept, notes = _without_copies(sorted(frames, key=_fixed_order))
    try:
        check_frames(kept)
    except UnreadableSeriesError as refusal:
        return _parts([("", kept, None, refusal)], notes)
    return _parts(_leaves(kept), notes)


def _leaves(frames: list[Frame]) -> list[_Leaf]:
    """Divide frames until nothing divides them any more."""
    groups = [
        (joined(grid_name, name), group)
        for grid_name, members in _on_one_grid(frames)
        for name, group in volumes_of(members)
    ]
    if len(groups) == 1:
        members, stack, refusal = _stack(frames)
        if refusal is None:
            return [("", members, stack, None)]
        groups = [("", frames)] if refusal.reason == "MISSING_SLICES" else rescued(frames)
        groups = groups if len(groups) > 1 else blocks_of(frames)
        if len(groups) == 1:
            return [("", members, stack, refusal)]
    return [
        (joined(name, below), members, stack, refusal)
        for name, group in groups
        for below, members, stack, refusal in _leaves(group)
    ]


def _stack(frames: list[Frame]) -> tuple[Sequence[Frame], Stack | None, UnreadableSeriesError | None]:
    """The one stack of a group, or the reason why there is none; both where slices are missing."""
    try:
        stack = make_stack(frames)
    except UnreadableSeriesError as refusal:
        return frames, _gapped(frames) if refusal.reason == "MISSING_SLICES" else None, refusal
    return stack.frames, stack, None


def _gapped(frames: list[Frame]) -> Stack | None:
    try:
        return make_stack(frames, allow_gaps=True)
    except UnreadableSeriesError:
        return None


def _parts(leaves: Sequence[_Leaf], notes: tuple[str, ...]) -> tuple[Part, ...]:
    owners: dict[Path, set[int]] = defaultdict(set)
    for number, (_, frames, _, _) in enumerate(leaves):
        for frame in frames:
            owners[frame.path].add(number)
    every_file = tuple(sorted(owners))
    shared = {number for numbers in owners.values() if len(numbers) > 1 for number in numbers}
    parts = []
    for number, (name, frames, stack, refusal) in enumerate(leaves):
        ordered = tuple(stack.frames if stack else frames)
        files = every_file if number in shared else tuple(sorted({frame.path for frame in ordered}))
        parts.append(
            Part(
                name=name if len(leaves) > 1 else "",
                frames=ordered,
                stack=stack,
                refusal=refusal,
                acquisition=_acquisition(ordered, stack),
                files=files,
                notes=notes,
            )
        )
    return tuple(sorted(parts, key=lambda part: natural(part.name)))


def _acquisition(frames: Sequence[Frame], stack: Stack | None) -> Acquisition:
    made = frames[len(frames) // 2].facts.acquisition
    if stack is None:
        return replace(made, n_slices=len(frames))
    i_mm, j_mm, _ = stack.geometry.affine.spacing_mm.tolist()
    steps = stack.geometry.affine.matrix[:3, :3]
    normal = np.cross(steps[:, 0], steps[:, 1]) / (i_mm * j_mm)
    between = abs(float(steps[:, 2] @ normal) / float(np.linalg.norm(normal)))
    return replace(
        made,
        n_slices=stack.geometry.shape[2],
        spacing_mm=(i_mm, j_mm, between),
        orientation=_orientation(normal),
    )


def _orientation(normal: NDArray[np.float64]) -> str:
    axis = int(np.argmax(np.abs(normal)))
    cosine = abs(float(normal[axis])) / float(np.linalg.norm(normal))
    if cosine < math.cos(math.radians(OBLIQUE_DEGREES)):
        return "oblique"
    return ("sagittal", "coronal", "axial")[axis]


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Drop further copies of an instance: the same SOP Instance UID at the same position."""
    kept: dict[Hashable, Frame] = {}
    for frame in frames:
        kept.setdefault(_identity(frame), frame)
    dropped = len(frames) - len(kept)
    return list(kept.values()), ((f"Dropped {dropped} copies of instances.",) if dropped else ())


def _identity(frame: Frame) -> Hashable:
    """Equal for copies; one UID in every file, as some anonymisers write it, makes no copies of them."""
    times = (frame.temporal_position, frame.trigger_time_ms, frame.reference_ms, frame.acquired_s, frame.content_s)
    numbers = (frame.instance_number, frame.acquisition_number, frame.index, frame.tile, frame.slope, frame.intercept)
    return (frame.sop_instance_uid or frame.path, frame.position_mm, frame.facts, frame.gradient, *times, *numbers)


def _fixed_order(frame: Frame) -> tuple[Any, ...]:
    return (frame.path.name, str(frame.path), frame.index, frame.tile or (0, 0))


# Grids


def _on_one_grid(frames: list[Frame]) -> Groups:
    """Frames that can lie on one grid, by matrix, orientation, pixel spacing, frame of reference and Stack ID."""
    groups: Groups = [("", frames)]
    for name, labels_of in _GRID_LABELS:
        split: Groups = []
        for parent, members in groups:
            split += [(joined(parent, child), part) for child, part in _ranked(name, members, labels_of(members))]
        groups = split
    return groups


def _ranked(name: str, frames: list[Frame], labels: Sequence[Hashable]) -> Groups:
    """Groups of equal labels named `name-1`, `name-2`: the largest first, then by the label."""
    if len(set(labels)) == 1:
        return [("", frames)]
    groups = grouped(frames, labels)
    ranked = sorted(groups, key=lambda label: (-len(groups[label]), label))
    return [(f"{name}-{rank}", groups[label]) for rank, label in enumerate(ranked, start=1)]


def _orientations(frames: Sequence[Frame]) -> Sequence[Hashable]:
    return _clusters([frame.orientation for frame in frames], ORIENTATION_TOLERANCE, relative=False)


def _spacings(frames: Sequence[Frame]) -> Sequence[Hashable]:
    return _clusters([frame.spacing_mm for frame in frames], 1e-3, relative=True)


def _clusters(rows: Sequence[tuple[float, ...]], tolerance: float, *, relative: bool) -> Sequence[Hashable]:
    """For each row the first row, in ascending order, that it equals within a tolerance."""
    unique = sorted(set(rows))
    if len(unique) == 1:
        return rows
    heads: list[NDArray[np.float64]] = []
    head_of: dict[tuple[float, ...], Hashable] = {}
    for row in unique:
        values = np.array(row)
        close = (h for h in heads if (np.abs(values - h) <= tolerance * (np.abs(h) if relative else 1.0)).all())
        head = next(close, None)
        if head is None:
            heads.append(values)
            head = values
        head_of[row] = tuple(head.tolist())
    return [head_of[row] for row in rows]


def _frames_of_reference(frames: Sequence[Frame]) -> Sequence[Hashable]:
    return _unless_fragments([frame.facts.acquisition.frame_of_reference_uid for frame in frames])


def _stack_ids(frames: Sequence[Frame]) -> Sequence[Hashable]:
    return _unless_fragments([frame.stack_id for frame in frames])


def _unless_fragments(labels: Sequence[Hashable]) -> Sequence[Hashable]:
    """One label for all where the labels single out every frame, as random identifiers do."""
    sizes = sorted(Counter(labels).values())
    return labels if sizes[len(sizes) // 2] > 1 or len(labels) == 1 else [""] * len(labels)


_GRID_LABELS: tuple[tuple[str, Callable[[Sequence[Frame]], Sequence[Hashable]]], ...] = (
    ("matrix", lambda frames: [frame.shape for frame in frames]),
    ("orientation", _orientations),
    ("spacing", _spacings),
    ("space", _frames_of_reference),
    ("stack", _stack_ids),
)
