"""Frames -> parts: what is told apart, what stays together, and what each part is called."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.domain import Acquisition
from medfuse.ingest.dicom.frames import Facts, Frame
from medfuse.ingest.dicom.split import Part, parts_of

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_MADE = set(Acquisition.__dataclass_fields__) - {"orientation", "spacing_mm"}
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def frame(z: float, *, name: str = "", modality: str = "MR", **how: Any) -> Frame:
    facts = {key: how.pop(key) for key in ("kind", "echo_number", "flip_angle", "kvp") if key in how}
    made = {key: how.pop(key) for key in list(how) if key in _MADE}
    values = {
        "path": Path(name or f"{z}-{sorted(how.items())}-{sorted(facts.items())}-{sorted(made.items())}"),
        "position_mm": (0.0, 0.0, float(z)),
        "orientation": AXIAL,
        "spacing_mm": (1.0, 1.0),
        "shape": (4, 5),
        "facts": Facts(modality=modality, acquisition=Acquisition(**made), **facts),
    }
    return Frame(**{**values, **how})


def stack(count: int = 6, step: float = 2.0, start: float = 0.0, each: Callable[[int], Any] | None = None, **how: Any):
    return [frame(start + k * step, **{**how, **(each(k) if each else {})}) for k in range(count)]


def names(frames: Sequence[Frame]) -> dict[str, int]:
    return {part.name: len(part.frames) for part in parts_of(frames)}


def reasons(frames: Sequence[Frame]) -> list[str]:
    return [part.refusal.reason for part in parts_of(frames) if part.refusal]


def test_one_stack_is_one_part_without_a_name() -> None:
    (part,) = parts_of(stack(thickness_mm=3.0)[::-1])
    assert (part.name, part.refusal) == ("", None)
    assert [one.position_mm[2] for one in part.frames] == [0, 2, 4, 6, 8, 10]
    assert (part.acquisition.n_slices, part.acquisition.spacing_mm) == (6, (1, 1, 2))
    assert (part.acquisition.orientation, part.acquisition.thickness_mm) == ("axial", 3)


@pytest.mark.parametrize(
    ("degrees", "expected"), [(0, "axial"), (24, "axial"), (26, "oblique"), (64, "oblique"), (66, "coronal")]
)
def test_the_orientation_is_that_of_the_slice_normal(degrees: float, expected: str) -> None:
    angle = np.radians(degrees)
    orientation = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(np.sin(angle)))
    normal = np.cross(orientation[:3], orientation[3:])
    frames = [frame(k, position_mm=tuple((k * normal).tolist()), orientation=orientation) for k in range(4)]
    assert parts_of(frames)[0].acquisition.orientation == expected


def test_the_spacing_of_a_tilted_stack_is_along_its_normal() -> None:
    frames = [frame(2 * k, position_mm=(0.0, 1.0 * k, 2.0 * k)) for k in range(5)]
    assert parts_of(frames)[0].acquisition.spacing_mm == pytest.approx((1, 1, 2))


TOLD_APART = {
    "kind": (stack(kind="magnitude") + stack(kind="phase"), {"magnitude": 6, "phase": 6}),
    "echo": (stack(echo_time_ms=5.0) + stack(echo_time_ms=2.5), {"echo-1": 6, "echo-2": 6}),
    "echo number": (stack(echo_number=1) + stack(echo_number=2), {"echo-1": 6, "echo-2": 6}),
    "short echoes": (stack(echo_time_ms=0.03) + stack(echo_time_ms=0.05), {"echo-1": 6, "echo-2": 6}),
    "b": (stack(b_value=0.0) + stack(b_value=1000.0), {"b-0": 6, "b-1000": 6}),
    "b known of some": (stack() + stack(b_value=50.0), {"b-50": 6, "b-unknown": 6}),
    "direction": (
        stack(b_value=1.0, gradient=(1.0, 0.0, 0.0), instance_number=9)
        + stack(b_value=1.0, gradient=(0.0, 1.0, 0.0), instance_number=2),
        {"direction-1": 6, "direction-2": 6},
    ),
    "type": (
        stack(image_type=("DERIVED", "PRIMARY", "ADC")) + stack(image_type=("DERIVED", "PRIMARY", "FA", "NORM")),
        {"adc": 6, "fa-norm": 6},
    ),
    "type that adds a word": (
        stack(image_type=("ORIGINAL", "PRIMARY")) + stack(image_type=("ORIGINAL", "PRIMARY", "MPR")),
        {"type-1": 6, "type-2": 6},
    ),
    "kernel": (
        stack(kernel="B30f", modality="CT") + stack(kernel="B70f", modality="CT"),
        {"kernel-1": 6, "kernel-2": 6},
    ),
    "kernels in between": (
        stack(kernel="B30f", modality="CT") + stack(kernel="B70f", modality="CT", start=1.0),
        {"kernel-1": 6, "kernel-2": 6},
    ),
    "thickness": (
        stack(11, 1.0, thickness_mm=1.0) + stack(3, 5.0, thickness_mm=5.0),
        {"thickness-1": 11, "thickness-2": 3},
    ),
    "time": (stack(temporal_position=3) + stack(temporal_position=1), {"time-1": 6, "time-2": 6}),
    "matrix": (stack() + stack(4, shape=(8, 8)), {"matrix-1": 6, "matrix-2": 4}),
    "spacing": (stack() + stack(4, spacing_mm=(0.9, 0.9)), {"spacing-1": 6, "spacing-2": 4}),
    "orientation": (
        stack() + [frame(0, position_mm=(0.0, float(k), 0.0), orientation=CORONAL) for k in range(4)],
        {"orientation-1": 6, "orientation-2": 4},
    ),
    "space": (
        stack(frame_of_reference_uid="1") + stack(4, start=2, frame_of_reference_uid="2"),
        {"space-1": 6, "space-2": 4},
    ),
    "stack": (stack(stack_id="A") + stack(4, start=1.0, stack_id="B"), {"stack-1": 6, "stack-2": 4}),
    "station": (
        stack() + stack(position_mm=None, each=lambda k: {"position_mm": (0.0, 300.0, 2.0 * k)}),
        {"station-1": 6, "station-2": 6},
    ),
    "trigger of each slice": (
        [one for n in range(3) for one in stack(each=lambda k, n=n: {"trigger_time_ms": 100.0 * n + k})],
        {"trigger-1": 6, "trigger-2": 6, "trigger-3": 6},
    ),
    "times of each slice": (
        [one for n in range(2) for one in stack(each=lambda k, n=n: {"acquired_s": 60.0 * n + k})],
        {"time-1": 6, "time-2": 6},
    ),
    "numbers volume by volume": (
        [one for n in range(2) for one in stack(each=lambda k, n=n: {"instance_number": 6 * n + k})],
        {"repetition-1": 6, "repetition-2": 6},
    ),
    "numbers slice by slice": (
        [one for n in range(2) for one in stack(each=lambda k, n=n: {"instance_number": 2 * k + n})],
        {"repetition-1": 6, "repetition-2": 6},
    ),
    "two facts": (
        [one for e in (1.0, 2.0) for kind in ("magnitude", "phase") for one in stack(echo_time_ms=e, kind=kind)],
        {"magnitude_echo-1": 6, "magnitude_echo-2": 6, "phase_echo-1": 6, "phase_echo-2": 6},
    ),
    "phases of a CT that lie between each other": (
        stack(modality="CT", acquisition_number=1, acquired_s=10.0)
        + stack(start=1, modality="CT", acquisition_number=2, acquired_s=50.0),
        {"acquisition-1": 6, "acquisition-2": 6},
    ),
    "phases at positions that differ a little": (
        stack(modality="CT", acquisition_number=1) + stack(start=0.3, modality="CT", acquisition_number=2),
        {"acquisition-1": 6, "acquisition-2": 6},
    ),
}


@pytest.mark.parametrize("case", TOLD_APART)
def test_volumes_are_told_apart_and_named(case: str) -> None:
    frames, expected = TOLD_APART[case]
    assert names(frames) == expected
    assert not reasons(frames)


ONE_STACK = {
    "acquisition number in blocks": stack(12, each=lambda k: {"acquisition_number": k // 4}),
    "acquisition number of each slice": stack(each=lambda k: {"acquisition_number": k}),
    "interleaved acquisitions of an MR": stack(each=lambda k: {"acquisition_number": k % 2, "acquired_s": k % 2}),
    "acquisition numbers that alternate along a CT": stack(
        modality="CT", each=lambda k: {"acquisition_number": k % 2, "acquired_s": 1.0 * k}
    ),
    "acquisition number without times": stack(modality="CT", each=lambda k: {"acquisition_number": k % 2}),
    "times": stack(each=lambda k: {"acquired_s": 3.0 * k, "content_s": 100.0 - k, "instance_number": 50 - k}),
    "kernel of each block": stack(each=lambda k: {"kernel": "soft" if k < 3 else "bone"}, modality="CT"),
    "thickness of each slice": stack(each=lambda k: {"thickness_mm": 1 + k / 1000}),
    "echo that jitters": stack(each=lambda k: {"echo_time_ms": 30 + k / 1000}),
    "kvp": stack(modality="CT", each=lambda k: {"kvp": 80.0 + 60 * (k % 2)}),
    "a stack id a slice": stack(each=lambda k: {"stack_id": str(k)}),
    "a frame of reference a slice": stack(each=lambda k: {"frame_of_reference_uid": f"1.{k}"}),
    "cosines that jitter": stack(each=lambda k: {"orientation": (1.0, 0.0004 * (k % 2), 0.0, 0.0, 1.0, 0.0)}),
    "one UID in every file": stack(sop_instance_uid="1.2"),
}


@pytest.mark.parametrize("case", ONE_STACK)
def test_one_stack_stays_one_whatever_varies_along_it(case: str) -> None:
    assert names(ONE_STACK[case]) == {"": len(ONE_STACK[case])}
    assert not reasons(ONE_STACK[case])


REFUSED = {
    "a position twice": (stack() + stack(1, name="other"), "DUPLICATE_POSITIONS"),
    "numbers in no order": (
        stack(4, each=lambda k: {"instance_number": [1, 6, 5, 8][k]})
        + stack(4, name="b", each=lambda k: {"instance_number": [3, 2, 7, 4][k], "name": f"b{k}"}),
        "DUPLICATE_POSITIONS",
    ),
    "missing": ([one for k, one in enumerate(stack(20)) if k != 10], "MISSING_SLICES"),
    "missing in two places": ([one for k, one in enumerate(stack(20)) if k not in (5, 6, 13)], "MISSING_SLICES"),
    "every second missing at one end": ([one for k, one in enumerate(stack(9)) if k not in (6, 4)], "MISSING_SLICES"),
    "uneven": ([frame(z) for z in (0, 1, 2.4, 3, 4.7)], "UNEVEN_SPACING"),
    "off the line": (
        stack(each=lambda k: {"position_mm": (3.0 * (k == 2), 0.0, 2.0 * k)}),
        "INCONSISTENT_GEOMETRY",
    ),
    "no number": (stack(each=lambda k: {"position_mm": (float("nan"), 0.0, 2.0 * k)}), "INCONSISTENT_GEOMETRY"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_stack_is_refused_as_one_part(case: str) -> None:
    frames, expected = REFUSED[case]
    assert reasons(frames) == [expected]
    assert list(names(frames)) == [""]


def test_missing_slices_keep_their_grid_for_filling() -> None:
    (part,) = parts_of([one for k, one in enumerate(stack(20)) if k not in (5, 6, 13)])
    assert part.stack is not None
    assert (part.stack.geometry.shape, part.stack.n_missing, part.acquisition.n_slices) == ((5, 4, 20), 3, 20)
    assert 5 not in part.stack.slots


BLOCKS = {
    "thin, then thick": (stack(7, 1.0) + stack(5, 5.0, start=11.0), {"block-1": 7, "block-2": 5}),
    "thick, then thin": (stack(5, 5.0) + stack(7, 1.0, start=21.0), {"block-1": 5, "block-2": 7}),
    "the thickness says where": (
        stack(7, 1.0, thickness_mm=1.0) + stack(5, 5.0, start=11.0, thickness_mm=5.0),
        {"block-1": 7, "block-2": 5},
    ),
    "the thickness says that a slice begins the next block": (
        stack(7, 1.0, thickness_mm=1.0) + stack(5, 5.0, start=7.0, thickness_mm=5.0),
        {"block-1": 7, "block-2": 5},
    ),
    "the thickness says so the other way round": (
        stack(5, 5.0, thickness_mm=5.0) + stack(7, 1.0, start=21.0, thickness_mm=1.0),
        {"block-1": 5, "block-2": 7},
    ),
    "short blocks of another thickness": (
        stack(4, 1.0, thickness_mm=1.0) + stack(3, 2.0, start=5.0, thickness_mm=2.0),
        {"block-1": 4, "block-2": 3},
    ),
    "far apart": (stack(6, 2.0) + stack(6, 2.0, start=400.0), {"block-1": 6, "block-2": 6}),
    "spacings without a common measure": (stack(6, 1.25) + stack(6, 3.0, start=9.25), {"block-1": 6, "block-2": 6}),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_blocks_of_one_spacing_become_parts(case: str) -> None:
    frames, expected = BLOCKS[case]
    assert names(frames) == expected
    assert not reasons(frames)


def test_a_hole_in_a_block_is_no_third_block() -> None:
    frames = [one for k, one in enumerate(stack(12, 1.0)) if k != 5] + stack(6, 5.0, start=16.0)
    found = {part.name: part.refusal and part.refusal.reason for part in parts_of(frames)}
    assert found == {"block-1": "MISSING_SLICES", "block-2": None}


def test_copies_are_dropped_and_counted() -> None:
    frames = stack(each=lambda k: {"sop_instance_uid": f"1.{k}"})
    (part,) = parts_of([*frames, *(replace(one, path=Path(f"z{one.path}")) for one in frames[:2])])
    assert len(part.frames) == 6
    assert part.notes == ("Dropped 2 copies of instances.",)


def test_the_files_of_a_part_are_its_own_unless_files_are_shared() -> None:
    own = parts_of(stack(echo_time_ms=1.0) + stack(echo_time_ms=2.0))
    assert [len(part.files) for part in own] == [6, 6]
    both = [replace(one, path=Path("both"), index=n) for n, one in enumerate(stack(kind="phase") + stack(kind="real"))]
    more = [replace(one, path=Path("real")) for one in stack(2, start=12.0, kind="real")]
    files = {part.name: part.files for part in parts_of([*both, *more])}
    assert files == {"phase": (Path("both"), Path("real")), "real": (Path("both"), Path("real"))}


def test_an_incomplete_last_repetition_loses_only_itself() -> None:
    frames = [one for n in range(3) for one in stack(each=lambda k, n=n: {"instance_number": 6 * n + k})][:-2]
    assert names(frames) == {"repetition-1": 6, "repetition-2": 6, "repetition-3": 4}


def test_tens_follow_ones() -> None:
    frames = [one for n in range(12) for one in stack(2, temporal_position=n)]
    assert [part.name for part in parts_of(frames)] == [f"time-{n}" for n in range(1, 13)]


@pytest.mark.parametrize("case", [*TOLD_APART, *BLOCKS])
def test_the_part_of_a_part_is_that_part_alone(case: str) -> None:
    frames, _ = {**TOLD_APART, **BLOCKS}[case]
    for part in parts_of(frames):
        (again,) = parts_of(part.frames)
        assert again.name == ""
        assert [one.path for one in again.frames] == [one.path for one in part.frames]


def by_name(parts: Sequence[Part]) -> dict[str, list[tuple[float, ...]]]:
    return {part.name: [one.position_mm for one in part.frames] for part in parts}


@given(st.sampled_from(sorted(TOLD_APART)), st.randoms(use_true_random=False))
def test_names_depend_on_neither_order_nor_file_names(case: str, random: Any) -> None:
    frames, _ = TOLD_APART[case]
    shuffled = enumerate(random.sample(frames, len(frames)))
    renamed = [replace(one, path=Path(f"{random.randint(0, 9)}-{n}")) for n, one in shuffled]
    facts = {
        part.name: {(one.position_mm, one.facts, one.instance_number) for one in part.frames}
        for part in parts_of(frames)
    }
    assert facts == {
        part.name: {(one.position_mm, one.facts, one.instance_number) for one in part.frames}
        for part in parts_of(renamed)
    }
    assert by_name(parts_of(frames)).keys() == by_name(parts_of(renamed)).keys()
