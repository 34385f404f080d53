"""Frames on one grid -> the volumes among them, by the element of the header that tells them apart.

A fact divides frames only into groups that cover the positions of a volume. What differs from slice to slice (times,
random numbers) is no name of a volume; where frames lie at one position, its order still is.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import Frame
from medfuse.ingest.dicom.groups import Groups, grouped, joined, slug
from medfuse.ingest.dicom.stack import distances_of, make_stack, same_position_mm

_LEAST_SHARE = 0.2
"""Groups that typically cover less of the positions than this are fragments, no volumes."""

_SHORT_ECHO_MS = 1.0
"""Echo times above this are compared to a tenth of a millisecond, those below (UTE) to a thousandth."""


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


def _echo_time(frame: Frame) -> Hashable:
    time = frame.facts.acquisition.echo_time_ms
    return None if time is None else round(time, 1 if time > _SHORT_ECHO_MS else 3)


_FACTS = (
    _Fact("kind", lambda f: f.facts.kind or None, lambda kind: str(kind), "always"),
    _Fact("echo", _echo_time, None, "always"),
    _Fact("b", lambda f: f.facts.acquisition.b_value, lambda b: f"b-{b:g}", "always"),
    _Fact("type", _image_type, None, "overlapping"),
    _Fact("kernel", lambda f: f.facts.acquisition.kernel or None, None, "overlapping"),
    _Fact("thickness", lambda f: f.facts.acquisition.thickness_mm, None, "overlapping"),
    _Fact("echo", lambda f: f.facts.echo_number),
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


def volumes_of(frames: list[Frame]) -> Groups:
    """Volumes on one grid, by the facts that tell them apart."""
    if len(frames) == 1:
        return [("", frames)]
    slots = _slots(frames)
    if not _is_repeated(slots) and len({id(frame.facts) for frame in frames}) == 1:
        return _apart_in_time(frames)
    for groups in _candidates(frames, slots):
        return [(joined(name, below), part) for name, members in groups for below, part in volumes_of(members)]
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
    groups = grouped(frames, values)
    return _named(fact, groups)


def _named(fact: _Fact, groups: dict[Hashable, list[Frame]]) -> Groups:
    ordered = sorted(groups, key=lambda value: (value is not None, _rank_key(fact, value, groups[value])))
    if fact.name == "type":
        return _type_names(ordered, groups)
    names = [f"{fact.name}-{rank}" for rank in range(1, len(ordered) + 1)]
    if fact.label is not None:
        told = [f"{fact.name}-unknown" if value is None else fact.label(value) for value in ordered]
        names = told if len(set(told)) == len(told) else names
    return [(name, groups[value]) for name, value in zip(names, ordered, strict=True)]


def _rank_key(fact: _Fact, value: Any, frames: Sequence[Frame]) -> tuple[Any, ...]:
    """Directions rank by when they were taken, everything else by its value."""
    if value is None:
        return ()
    first = min((f.instance_number for f in frames if f.instance_number is not None), default=0)
    return (first, value) if fact.name == "direction" else (value,)


def _type_names(ordered: Sequence[Any], groups: dict[Hashable, list[Frame]]) -> Groups:
    """Name parts by the words of Image Type that only they have, else by number."""
    shared = set.intersection(*(set(value) for value in ordered))
    names = ["-".join(dict.fromkeys(slug(word) for word in value if word not in shared)) for value in ordered]
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


def rescued(frames: list[Frame]) -> Groups:
    """Volumes that lie between each other on positions of their own, where together they are no even stack.

    Any fact may tell them apart then, as long as each volume is an even stack by itself.
    """
    slots = _slots(frames)
    for fact in _FACTS:
        groups = _by_fact(frames, slots, replace(fact, divides="overlapping"))
        if groups and all(_is_even(members) for _, members in groups):
            return groups
    return [("", frames)]


def _is_even(frames: list[Frame]) -> bool:
    try:
        make_stack(frames)
    except UnreadableSeriesError:
        return False
    return len(frames) > 1
