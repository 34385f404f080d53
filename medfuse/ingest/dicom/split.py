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
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Acquisition
from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import Frame
from medfuse.ingest.dicom.stack import (
    ORIENTATION_TOLERANCE,
    SPACING_TOLERANCE,
    Stack,
    check_frames,
    distances_of,
    gap_units,
    make_stack,
    same_position_mm,
)

OBLIQUE_DEGREES = 25.0
"""A slice normal further than this from every body axis is oblique."""

_LEAST_SHARE = 0.2
"""Groups that typically cover less of the positions than this are fragments, no volumes."""

_SHORTEST_BLOCK_GAPS = 3
"""Equal gaps in a row that make a block where the slice thickness does not tell."""

Groups = list[tuple[str, list[Frame]]]
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
        (_joined(grid_name, name), group)
        for grid_name, members in _on_one_grid(frames)
        for name, group in _distinguished(members)
    ]
    if len(groups) == 1:
        groups = _blocks(groups[0][1])
    if len(groups) == 1:
        return [("", *_stack(frames))]
    return [
        (_joined(name, below), members, stack, refusal)
        for name, group in groups
        for below, members, stack, refusal in _leaves(group)
    ]


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
    return tuple(sorted(parts, key=lambda part: _natural(part.name)))


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
            split += [(_joined(parent, child), part) for child, part in _ranked(name, members, labels_of(members))]
        groups = split
    return groups


def _ranked(name: str, frames: list[Frame], labels: Sequence[Hashable]) -> Groups:
    """Groups of equal labels named `name-1`, `name-2`: the largest first, then by the label."""
    if len(set(labels)) == 1:
        return [("", frames)]
    groups = _grouped(frames, labels)
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


# Volumes on one grid


@dataclass(frozen=True, slots=True)
class _Fact:
    """An element of the header that may tell volumes apart.

    Args:
        name: How parts are called by it.
        value: What it says of a frame; None where it says nothing.
        label: The part's name of a value, or None to count the values.
        divides: `always` where one volume can never hold two values, `overlapping` where it cannot over one stretch
            of positions, `repeated` where only frames at one position are told apart.
    """

    name: str
    value: Callable[[Frame], Hashable]
    label: Callable[[Any], str] | None = None
    divides: str = "repeated"


def _image_type(frame: Frame) -> Hashable:
    return tuple(word for word in frame.facts.acquisition.image_type if not word.startswith("ECHO_"))


def _echo(frame: Frame) -> Hashable:
    time = frame.facts.acquisition.echo_time_ms
    return None if time is None and frame.facts.echo_number is None else (time or 0.0, frame.facts.echo_number or 0)


_FACTS = (
    _Fact("kind", lambda f: f.facts.kind or None, lambda kind: str(kind), "always"),
    _Fact("echo", _echo, None, "always"),
    _Fact("b", lambda f: f.facts.acquisition.b_value, lambda b: f"b-{b:g}", "always"),
    _Fact("type", _image_type, None, "overlapping"),
    _Fact("kernel", lambda f: f.facts.acquisition.kernel or None, None, "overlapping"),
    _Fact("thickness", lambda f: f.facts.acquisition.thickness_mm, None, "overlapping"),
    _Fact("inversion", lambda f: f.facts.acquisition.inversion_time_ms),
    _Fact("flip", lambda f: f.facts.flip_angle),
    _Fact("time", lambda f: f.temporal_position),
    _Fact("time", lambda f: f.reference_ms),
    _Fact("direction", lambda f: f.gradient or None),
    _Fact("trigger", lambda f: f.trigger_time_ms),
    _Fact("acquisition", lambda f: f.acquisition_number),
    _Fact("contrast", lambda f: f.facts.acquisition.contrast),
    _Fact("kvp", lambda f: f.facts.kvp),
)


def _distinguished(frames: list[Frame]) -> Groups:
    """Volumes on one grid, by the facts that tell them apart."""
    if len(frames) == 1:
        return [("", frames)]
    slots = _slots(frames)
    if not _is_repeated(slots) and len({id(frame.facts) for frame in frames}) == 1:
        return _apart_in_time(frames)
    for groups in _candidates(frames, slots):
        return [(_joined(name, below), part) for name, members in groups for below, part in _distinguished(members)]
    return [("", frames)]


def _candidates(frames: list[Frame], slots: NDArray[np.int64]) -> Iterator[Groups]:
    """Ways to divide frames into volumes, the best first."""
    repeated = _is_repeated(slots)
    for fact in _FACTS:
        if fact.divides == "repeated" and not repeated:
            continue
        groups = _by_fact(frames, slots, fact)
        if groups:
            yield groups
    if not repeated:
        groups = _apart_in_time(frames)
        if len(groups) > 1:
            yield groups
        return
    for column in range(max(len(frame.dimension_index) for frame in frames)):
        groups = _by_fact(frames, slots, _Fact(f"dimension{column + 1}", _dimension(column)))
        if groups:
            yield groups
    yield from filter(None, (_stations(frames, slots), *(_by_order(frames, slots, order) for order in _ORDERS)))


def _dimension(column: int) -> Callable[[Frame], Hashable]:
    return lambda frame: frame.dimension_index[column : column + 1] or None


def _by_fact(frames: list[Frame], slots: NDArray[np.int64], fact: _Fact) -> Groups:
    """Groups of frames by one fact; none where it does not divide them into volumes."""
    values = [fact.value(frame) for frame in frames]
    distinct = set(values)
    if len(distinct) < 2:
        return []
    places: dict[Hashable, set[int]] = defaultdict(set)
    for value, slot in zip(values, slots.tolist(), strict=True):
        places[value].add(slot)
    n_slots = int(slots.max()) + 1
    sizes = sorted(len(places[value]) for value in distinct)
    if sizes[len(sizes) // 2] < max(min(2, n_slots), _LEAST_SHARE * n_slots):
        return []
    if fact.divides == "repeated" and sum(sizes) == n_slots:
        return []
    if fact.divides == "overlapping" and not _overlap(list(places.values())):
        return []
    groups = _grouped(frames, values)
    return _named(fact, groups)


def _named(fact: _Fact, groups: dict[Hashable, list[Frame]]) -> Groups:
    ordered = sorted(groups, key=lambda value: (value is not None, _rank_key(fact, value, groups[value])))
    if fact.name == "type":
        return _type_names(ordered, groups)
    named = []
    for rank, value in enumerate(ordered, start=1):
        if fact.label is None:
            name = f"{fact.name}-{rank}"
        else:
            name = f"{fact.name}-unknown" if value is None else fact.label(value)
        named.append((name, groups[value]))
    return named


def _rank_key(fact: _Fact, value: Any, frames: Sequence[Frame]) -> tuple[Any, ...]:
    """Directions rank by when they were taken, everything else by its value."""
    if value is None:
        return ()
    first = min((f.instance_number for f in frames if f.instance_number is not None), default=0)
    return (first, value) if fact.name == "direction" else (value,)


def _type_names(ordered: Sequence[Any], groups: dict[Hashable, list[Frame]]) -> Groups:
    """Name parts by the words of Image Type that only they have, else by number."""
    shared = set.intersection(*(set(value) for value in ordered))
    names = ["-".join(dict.fromkeys(_slug(word) for word in value if word not in shared)) for value in ordered]
    if "" in names or len(set(names)) < len(names):
        names = [f"type-{rank}" for rank in range(1, len(names) + 1)]
    return [(name, groups[value]) for name, value in zip(names, ordered, strict=True)]


def _stations(frames: list[Frame], slots: NDArray[np.int64]) -> Groups:
    """Stacks side by side at the same distances along the normal, such as the stations of a leg or a spine."""
    positions = np.array([frame.position_mm for frame in frames])
    orientation = np.array(frames[0].orientation)
    across = np.stack([positions @ orientation[:3], positions @ orientation[3:]], axis=1)
    label_of = {id(frame): tuple(row) for frame, row in zip(frames, np.round(across, 1).tolist(), strict=True)}
    return _by_fact(frames, slots, _Fact("station", lambda frame: label_of[id(frame)]))


_ORDERS: tuple[tuple[str, Callable[[Frame], float | None]], ...] = (
    ("trigger", lambda f: f.trigger_time_ms),
    ("time", lambda f: f.acquired_s),
    ("time", lambda f: f.content_s),
    ("repetition", lambda f: f.instance_number),
)


def _by_order(
    frames: list[Frame], slots: NDArray[np.int64], order: tuple[str, Callable[[Frame], float | None]]
) -> Groups:
    """The first frame of each position, the second, ...: where times or numbers run volume by volume or slice by slice.

    Nothing is returned where the order is neither, since frames of two volumes could then change places.
    """
    name, value_of = order
    values = [value_of(frame) for frame in frames]
    if None in values:
        return []
    at: dict[int, list[int]] = defaultdict(list)
    for n in sorted(range(len(frames)), key=lambda n: values[n]):  # type: ignore[arg-type, return-value]
        at[int(slots[n])].append(n)
    if any(len({values[n] for n in members}) < len(members) for members in at.values()):
        return []
    depth = max(map(len, at.values()))
    ranks = [[members[rank] for members in at.values() if rank < len(members)] for rank in range(depth)]
    whole = len({len(members) for members in at.values()}) == 1
    if not _runs_in_turn(ranks, values) and not (whole and _runs_in_turn(list(at.values()), values)):
        return []
    return [(f"{name}-{rank}", [frames[n] for n in members]) for rank, members in enumerate(ranks, start=1)]


def _runs_in_turn(groups: Sequence[Sequence[int]], values: Sequence[Any]) -> bool:
    """Whether all values of a group come before all of the next, for some order of the groups."""
    ends = sorted((min(values[n] for n in group), max(values[n] for n in group)) for group in groups)
    return all(last < first for (_, last), (first, _) in pairwise(ends))


def _apart_in_time(frames: list[Frame]) -> Groups:
    """CT phases whose slices lie between each other: acquisitions over one stretch, one after another."""
    numbers = {frame.acquisition_number for frame in frames}
    if len(numbers) < 2 or None in numbers or frames[0].facts.modality != "CT":
        return [("", frames)]
    slots = _slots(frames)
    groups = _by_fact(frames, slots, _Fact("acquisition", lambda f: f.acquisition_number, None, "overlapping"))
    times = [frame.acquired_s for frame in frames]
    if not groups or None in times:
        return [("", frames)]
    spans = sorted((min(t), max(t)) for _, part in groups for t in [[float(f.acquired_s or 0) for f in part]])
    in_turn = all(last < first for (_, last), (first, _) in pairwise(spans))
    return groups if in_turn else [("", frames)]


def _slots(frames: Sequence[Frame]) -> NDArray[np.int64]:
    """Number of the position of each frame along the normal, from 0."""
    distances = distances_of(frames)
    order = np.argsort(distances, kind="stable")
    gaps = np.diff(distances[order])
    slots = np.zeros(len(frames), dtype=np.int64)
    if gaps.size:
        slots[order[1:]] = np.cumsum(gaps > same_position_mm(gaps))
    return slots


def _is_repeated(slots: NDArray[np.int64]) -> bool:
    return int(slots.max()) + 1 < len(slots)


def _overlap(places: Sequence[set[int]]) -> bool:
    """Whether two groups of positions lie over one stretch, rather than end to end."""
    spans = sorted((min(group), max(group)) for group in places)
    return any(first <= last for (_, last), (first, _) in pairwise(spans))


# Blocks of one spacing


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


def _blocks(frames: list[Frame]) -> Groups:
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
    runs = _runs(gaps)
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


# Names


def _grouped(frames: Sequence[Frame], labels: Iterable[Hashable]) -> dict[Hashable, list[Frame]]:
    groups: dict[Hashable, list[Frame]] = defaultdict(list)
    for frame, label in zip(frames, labels, strict=True):
        groups[label].append(frame)
    return dict(groups)


def _joined(*names: str) -> str:
    return "_".join(name for name in names if name)


def _slug(word: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")


def _natural(name: str) -> list[tuple[str, int]]:
    """Sort key under which `echo-10` follows `echo-2`."""
    return [(letters, int(digits or 0)) for letters, digits in re.findall(r"([^\d]*)(\d*)", name)]
