"""One series, several volumes: rows 5, 6, 16 and 17 of the pitfalls, see `test_pitfalls.py`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medfuse.domain import Volume
from tests.dicom_cases import (
    AXIAL,
    CORONAL,
    OBLIQUE,
    SAGITTAL,
    Outcome,
    Truth,
    assert_same,
    outcome,
    set_tags,
    slices,
    truth_of,
    uid,
    write,
)


def notes(volume: Volume) -> str:
    return " ".join(volume.provenance).lower()


# Row 5: one position twice.


def test_row_05_copies_of_files_are_dropped_and_listed(tmp_path: Path) -> None:
    truth = truth_of()
    write(slices(truth), tmp_path / "a")
    write(slices(truth)[1:3], tmp_path / "b")
    found = outcome(tmp_path)
    assert_same(found.only, truth)
    assert "DUPLICATE_INSTANCE" in found.reasons


def test_row_05_one_position_twice_without_a_telling_tag_is_refused(tmp_path: Path) -> None:
    truth = truth_of()
    datasets = slices(truth)
    other = slices(truth_of(seed=2), SOPInstanceUID=uid("other"))[1]
    write([*datasets, other], tmp_path)
    found = outcome(tmp_path)
    assert "DUPLICATE_POSITIONS" in found.reasons
    assert not found.volumes


def test_row_05_the_same_slice_under_another_uid_is_never_stacked(tmp_path: Path) -> None:
    truth = truth_of()
    write([*slices(truth), slices(truth, SOPInstanceUID=uid("other"))[1]], tmp_path)
    found = outcome(tmp_path)
    if found.volumes:
        assert_same(found.only, truth)
        assert notes(found.only)
    else:
        assert "DUPLICATE_POSITIONS" in found.reasons


Telling = Mapping[Any, Any] | Callable[[int], Mapping[Any, Any]]
GE, SIEMENS = {(0x0043, 0x10, "LO"): "GEMS_PARM_01"}, {(0x0019, 0x10, "LO"): "SIEMENS MR HEADER"}
DIRECTIONS = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])

MAKERS = {" of GE": "GE MEDICAL SYSTEMS", " of Siemens": "SIEMENS", " of Philips": "Philips Medical Systems"}

TELLING_TAGS: dict[str, tuple[str, list[Telling]]] = {
    "echo": ("MR", [{"EchoTime": 4.6, "EchoNumbers": 1}, {"EchoTime": 9.2, "EchoNumbers": 2}]),
    "echo time alone": ("MR", [{"EchoTime": 4.6}, {"EchoTime": 9.2}, {"EchoTime": 13.8}]),
    "time": ("MR", [{"TemporalPositionIdentifier": n + 1} for n in range(3)]),
    "trigger time": ("MR", [{"TriggerTime": 100.0 * n} for n in range(4)]),
    "trigger time of each slice": ("MR", [lambda k, n=n: {"TriggerTime": 200.0 * n + 1.5 * k} for n in range(3)]),
    "b": ("MR", [{"DiffusionBValue": float(b)} for b in (0, 500, 1000)]),
    "b of GE": ("MR", [{**GE, (0x0043, 0x1039, "IS"): [b, 8, 0, 0]} for b in (0, 800)]),
    "b of Siemens": ("MR", [{**SIEMENS, (0x0019, 0x100C, "IS"): str(b)} for b in (0, 1000)]),
    "gradient": ("MR", [{"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": d} for d in DIRECTIONS]),
    "gradient of Siemens": (
        "MR",
        [{**SIEMENS, (0x0019, 0x100C, "IS"): "1000", (0x0019, 0x100E, "FD"): d} for d in DIRECTIONS],
    ),
    "gradient of GE": (
        "MR",
        [
            {
                (0x0019, 0x10, "LO"): "GEMS_ACQU_01",
                **GE,
                (0x0043, 0x1039, "IS"): [1000, 8, 0, 0],
                **{(0x0019, 0x10BB + axis, "DS"): value for axis, value in enumerate(d)},
            }
            for d in DIRECTIONS
        ],
    ),
    "gradient of Philips": (
        "MR",
        [
            {
                "DiffusionBValue": 1000.0,
                (0x2005, 0x10, "LO"): "Philips MR Imaging DD 001",
                **{(0x2005, 0x10B0 + axis, "FL"): value for axis, value in enumerate(d)},
            }
            for d in DIRECTIONS
        ],
    ),
    "phase": ("MR", [{"ImageType": ["ORIGINAL", "PRIMARY", kind, "FFE"]} for kind in ("M", "P")]),
    "complex": ("MR", [{"ComplexImageComponent": kind} for kind in ("MAGNITUDE", "PHASE")]),
    "acquisition": ("CT", [{"AcquisitionNumber": n + 1, "AcquisitionTime": f"1200{10 * n:02d}"} for n in range(2)]),
    "kernel": ("CT", [{"ConvolutionKernel": kernel} for kernel in ("B30f", "B70f")]),
    "contrast phase": ("CT", [{"AcquisitionTime": f"12{n:02d}00", "ContentTime": f"12{n:02d}01"} for n in range(3)]),
    "times of each slice": ("MR", [lambda k, n=n: {"AcquisitionTime": f"12{n:02d}{k:02d}.5"} for n in range(3)]),
    "PET frames": ("PT", [{"FrameReferenceTime": 1000.0 * n, "Units": "GML"} for n in range(3)]),
    "inversion time": ("MR", [{"InversionTime": float(t)} for t in (200, 900)]),
    "instance number alone": ("MR", [{}, {}]),
}


def told_apart(case: str) -> tuple[list[Truth], list[Dataset]]:
    """Volumes at the same positions, and the slices of all of them."""
    modality, volumes = TELLING_TAGS[case]
    truths = [truth_of(seed=n + 1) for n in range(len(volumes))]
    datasets = []
    for n, (truth, tags) in enumerate(zip(truths, volumes, strict=True)):
        for k, dataset in enumerate(slices(truth, modality=modality)):
            own = tags(k) if callable(tags) else tags
            maker = next((name.removeprefix(" of ") for name in MAKERS if case.endswith(name)), "made")
            numbers = {"InstanceNumber": 4 * n + k + 1, "SOPInstanceUID": uid("telling", n, k)}
            numbers["Manufacturer"] = MAKERS.get(f" of {maker}", maker)
            datasets.append(set_tags(dataset, {**numbers, **own}))
    return truths, datasets


@pytest.mark.parametrize("case", TELLING_TAGS)
def test_row_05_and_16_repeated_positions_are_split_by_the_tag_that_tells_them_apart(tmp_path: Path, case: str) -> None:
    left, datasets = told_apart(case)
    write(datasets, tmp_path)
    found = outcome(tmp_path)
    assert not found.refusals
    assert len(found.parts) == len(left)
    assert all(found.parts)
    for key, volume in found.volumes.items():
        match = next(n for n, truth in enumerate(left) if np.array_equal(truth.voxels, volume.voxels))
        assert_same(volume, left.pop(match))
        assert len(found.series[key].files) == 4


NAMES = {
    "echo": {"echo-1", "echo-2"},
    "echo time alone": {"echo-1", "echo-2", "echo-3"},
    "time": {"time-1", "time-2", "time-3"},
    "b": {"b-0", "b-500", "b-1000"},
    "b of GE": {"b-0", "b-800"},
    "b of Siemens": {"b-0", "b-1000"},
    "gradient": {"direction-1", "direction-2", "direction-3"},
    "gradient of Siemens": {"direction-1", "direction-2", "direction-3"},
    "gradient of GE": {"direction-1", "direction-2", "direction-3"},
    "gradient of Philips": {"direction-1", "direction-2", "direction-3"},
    "phase": {"magnitude", "phase"},
    "complex": {"magnitude", "phase"},
}


@pytest.mark.parametrize("case", NAMES)
def test_row_16_parts_are_named_by_the_tag_whatever_the_files_are_called(tmp_path: Path, case: str) -> None:
    voxels: dict[str, list[Any]] = {}
    for order in (1, -1):
        _, datasets = told_apart(case)
        folder = write(datasets[::order], tmp_path / str(order), names=[f"{n:03d}" for n in range(len(datasets))])
        for name, volume in outcome(folder).parts.items():
            voxels.setdefault(name, []).append(volume.voxels)
    assert set(voxels) == NAMES[case]
    for first, second in voxels.values():
        np.testing.assert_array_equal(first, second)


def test_row_16_two_tags_at_once_give_a_volume_each(tmp_path: Path) -> None:
    truths, datasets = {}, []
    for echo in (1, 2):
        for kind in ("M", "P"):
            truth = truths[(echo, kind)] = truth_of(seed=10 * echo + ord(kind))
            each = lambda k, echo=echo, kind=kind: {"SOPInstanceUID": uid(echo, kind, k)}  # noqa: E731
            tags = {"EchoNumbers": echo, "EchoTime": 5.0 * echo, "ImageType": ["ORIGINAL", "PRIMARY", kind, "FFE"]}
            datasets += slices(truth, modality="MR", each=each, **tags)
    write(datasets, tmp_path)
    found = outcome(tmp_path)
    assert len(found.parts) == 4
    for (echo, kind), truth in truths.items():
        (name,) = [
            name for name in found.parts if f"echo-{echo}" in name and {"M": "magnitude", "P": "phase"}[kind] in name
        ]
        assert_same(found.parts[name], truth)


def test_row_16_an_incomplete_last_volume_loses_only_itself(tmp_path: Path) -> None:
    truths = [truth_of(seed=n) for n in range(3)]
    datasets = []
    for n, truth in enumerate(truths):
        each = lambda k, n=n: {"SOPInstanceUID": uid("dynamic", n, k), "TemporalPositionIdentifier": n + 1}  # noqa: E731
        datasets += slices(truth, modality="MR", each=each)
    del datasets[10]
    write(datasets, tmp_path)
    found = outcome(tmp_path)
    assert_same(found.parts["time-1"], truths[0])
    assert_same(found.parts["time-2"], truths[1])
    assert "MISSING_SLICES" in found.reasons


def test_row_05_acquisitions_that_overlap_in_part_are_not_mixed(tmp_path: Path) -> None:
    """Chest and abdomen with a common stretch, as spiral CTs in two ranges have."""
    first, second = truth_of((6, 5, 8), seed=1), truth_of((6, 5, 8), seed=2, origin=(-20, 30, 40 + 5 * 2.5))
    datasets = slices(first, AcquisitionNumber=1, AcquisitionTime="120000")
    each = lambda k: {"SOPInstanceUID": uid("second", k)}  # noqa: E731
    datasets += slices(second, AcquisitionNumber=2, AcquisitionTime="120130", each=each)
    write(datasets, tmp_path)
    found = outcome(tmp_path)
    assert not found.refusals
    low, high = sorted(found.volumes.values(), key=lambda volume: volume.geometry.affine.origin_mm[2])
    assert_same(low, first)
    assert_same(high, second)


def test_row_05_one_slice_of_another_acquisition_is_not_put_in(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 8))
    stray = slices(truth_of((6, 5, 8), seed=2), AcquisitionNumber=2, SOPInstanceUID=uid("stray"))[3]
    write([*slices(truth, AcquisitionNumber=1), stray], tmp_path)
    found = outcome(tmp_path)
    whole = [volume for volume in found.volumes.values() if volume.geometry.shape[2] == 8]
    if whole:
        assert_same(whole[0], truth)
        assert len(found.volumes) == 2 or found.lines or whole[0].provenance
    else:
        assert "DUPLICATE_POSITIONS" in found.reasons


# Row 6: localizers, mixed orientation and matrix.


def test_row_06_localizers_are_left_out_and_counted(tmp_path: Path) -> None:
    truth = truth_of()
    scout = slices(
        truth_of((9, 8, 2), orientation=CORONAL),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        each=lambda k: {"SOPInstanceUID": uid("scout", k)},
    )
    write([*slices(truth), *scout], tmp_path)
    found = outcome(tmp_path)
    assert_same(found.only, truth)
    assert found.skipped["LOCALIZER"] == 2


def mixed(tmp_path: Path, second: Truth, **tags: Any) -> tuple[Outcome, Truth]:
    truth = truth_of()
    others = slices(second, each=lambda k: {"SOPInstanceUID": uid("mixed", k)}, **tags)
    write([*slices(truth), *others], tmp_path)
    return outcome(tmp_path), truth


@pytest.mark.parametrize(
    ("word", "second"),
    [
        ("orientation", truth_of((6, 5, 5), orientation=CORONAL, seed=2)),
        ("orientation", truth_of((6, 5, 4), orientation=SAGITTAL, seed=2)),
        ("matrix", truth_of((9, 8, 6), seed=2)),
        ("", truth_of((6, 5, 5), spacing=(0.9, 0.9, 2.5), seed=2)),
    ],
)
def test_row_06_mixed_stacks_become_volumes_of_their_own(tmp_path: Path, word: str, second: Truth) -> None:
    found, truth = mixed(tmp_path, second)
    assert not found.refusals
    assert len(found.parts) == 2
    assert all(word in name for name in found.parts)
    by_size = {volume.geometry.shape: volume for volume in found.volumes.values()}
    if truth.voxels.shape == second.voxels.shape:
        axes = {volume.geometry.affine.orientation: volume for volume in found.volumes.values()}
        assert len(axes) == 2
        assert_same(axes["LPS"], truth)
        assert_same(next(volume for name, volume in axes.items() if name != "LPS"), second)
    else:
        assert_same(by_size[truth.voxels.shape], truth)
        assert_same(by_size[second.voxels.shape], second)


def test_row_06_a_three_plane_scout_without_its_tag_gives_no_stack_of_mixed_planes(tmp_path: Path) -> None:
    datasets = []
    for n, orientation in enumerate((AXIAL, CORONAL, SAGITTAL)):
        truth = truth_of((8, 8, 1), orientation=orientation, seed=n)
        datasets += slices(truth, modality="MR", SOPInstanceUID=uid("plane", n))
    write(datasets, tmp_path)
    found = outcome(tmp_path)
    assert all(volume.geometry.shape == (8, 8, 1) for volume in found.volumes.values())
    assert len(found.volumes) + len(found.refusals) == 3


def test_row_06_two_parallel_stacks_of_one_orientation_are_not_one(tmp_path: Path) -> None:
    second = truth_of((6, 5, 4), origin=(-20, 30, 190), seed=2)
    found, truth = mixed(tmp_path, second)
    if found.volumes:
        assert len(found.volumes) == 2
        low, high = sorted(found.volumes.values(), key=lambda volume: volume.geometry.affine.origin_mm[2])
        assert_same(low, truth)
        assert_same(high, second)
    else:
        assert found.reasons & {"UNEVEN_SPACING", "MISSING_SLICES"}


def test_a_single_slice_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 1), orientation=OBLIQUE)
    write(slices(truth, SliceThickness=2.5), tmp_path)
    volume = outcome(tmp_path).only
    assert_same(volume, truth)
    assert "slice" in notes(volume)


@pytest.mark.parametrize(
    ("between", "thickness", "step"), [(2.5, 9.0, 2.5), (None, 3.0, 3.0), (None, None, 1.0), (-2.5, None, 2.5)]
)
def test_a_single_slice_is_as_thick_as_its_header_says(
    tmp_path: Path, between: float | None, thickness: float | None, step: float
) -> None:
    write(slices(truth_of((6, 5, 1)), SpacingBetweenSlices=between, SliceThickness=thickness), tmp_path)
    assert outcome(tmp_path).only.geometry.affine.matrix[:3, 2] == pytest.approx([0, 0, step])


# Row 17: numbers that vary over one stack.


@pytest.mark.parametrize(
    "each",
    [
        lambda k: {"AcquisitionNumber": k // 4 + 1},
        lambda k: {"AcquisitionNumber": k % 2},
        lambda k: {"AcquisitionNumber": k, "Exposure": 100 + k, "XRayTubeCurrent": 200 - k},
        lambda k: {"AcquisitionTime": f"1200{k:02d}", "ContentTime": f"1201{k:02d}"},
        lambda k: {"ImageComments": f"slice {k}", "SliceLocation": -k, "ImageType": ["ORIGINAL", "PRIMARY", f"A{k}"]},
        lambda k: {"TriggerTime": 30.0 * k, "WindowCenter": k},
    ],
    ids=["blocks", "interleaved", "exposure", "times", "texts", "trigger times"],
)
def test_row_17_tags_that_vary_over_one_contiguous_stack_do_not_split_it(tmp_path: Path, each: Any) -> None:
    truth = truth_of((6, 5, 9))
    write(slices(truth, each=each), tmp_path)
    found = outcome(tmp_path)
    assert_same(found.only, truth)
    assert list(found.parts) == [""]
