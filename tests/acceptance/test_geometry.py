"""Where voxels lie: rows 1-7, 16, 17 and 20-23 of the pitfalls, see `test_pitfalls.py`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfuse.domain import Volume
from medfuse.ingest import read_volume, source_datasets
from tests.dicom_cases import (
    AXIAL,
    CORONAL,
    DECUBITUS,
    FEET_FIRST,
    OBLIQUE,
    PRONE,
    SAGITTAL,
    Outcome,
    Truth,
    affine_of,
    assert_same,
    decimals,
    outcome,
    save,
    set_tags,
    slices,
    truth_of,
    uid,
    write,
)

ORIENTATIONS = {
    "axial": AXIAL,
    "coronal": CORONAL,
    "sagittal": SAGITTAL,
    "oblique": OBLIQUE,
    "prone": PRONE,
    "feet first": FEET_FIRST,
    "decubitus": DECUBITUS,
}


def field(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """A linear field of the patient's space, whose linear interpolation is exact: whole numbers where it is sampled."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    return np.asarray((index @ affine[:3, :3].T + affine[:3, 3]) @ np.array([4.0, -8.0, 16.0]))


def linear_truth(shape: tuple[int, int, int], **geometry: Any) -> Truth:
    affine = affine_of(**geometry)
    return Truth(voxels=np.rint(field(affine, shape)).astype(np.int16), affine=affine)


def notes(volume: Volume) -> str:
    return " ".join(volume.provenance).lower()


def assert_every_slice_in_its_place(found: Outcome, truth: Truth, places_mm: list[float], normal: Any) -> None:
    """The parts together hold each slice once or more, each at its own position."""
    seen = set()
    for volume in found.volumes.values():
        matrix = volume.geometry.affine.matrix
        for k in range(volume.geometry.shape[2]):
            position = matrix[:3, 3] + k * matrix[:3, 2]
            (slice_number,) = [n for n, place in enumerate(places_mm) if abs(place - position @ normal) < 1e-3]
            np.testing.assert_array_equal(volume.voxels[:, :, k], truth.voxels[:, :, slice_number])
            seen.add(slice_number)
    assert seen == set(range(len(places_mm)))


# Row 1: gantry tilt.


def tilted(degrees: float, *, seed_shape: tuple[int, int, int] = (16, 14, 9)) -> Truth:
    step = 2.0
    return linear_truth(seed_shape, spacing=(1.0, 1.0, step), shear=(0, step * np.tan(np.radians(degrees)), 0))


@pytest.mark.parametrize("degrees", [15.0, -20.0, 1.0])
@pytest.mark.parametrize("tag", [None, 0, 7.5])
def test_row_01_a_tilted_stack_keeps_its_sheared_grid_on_request(tmp_path: Path, degrees: float, tag: float) -> None:
    truth = tilted(degrees)
    write(slices(truth, GantryDetectorTilt=tag), tmp_path)
    assert_same(outcome(tmp_path, upright=False).only, truth)


@pytest.mark.parametrize("degrees", [15.0, -20.0])
def test_row_01_a_tilted_stack_is_resampled_to_an_upright_grid(tmp_path: Path, degrees: float) -> None:
    truth = tilted(degrees)
    write(slices(truth), tmp_path)
    volume = outcome(tmp_path).only
    assert volume.geometry.affine.is_orthogonal
    assert "tilt" in notes(volume)
    values = field(volume.geometry.affine.matrix, volume.geometry.shape)
    index = np.moveaxis(np.indices(volume.geometry.shape), 0, -1)
    source = np.linalg.inv(truth.affine) @ volume.geometry.affine.matrix
    place = index @ source[:3, :3].T + source[:3, 3]
    last = np.array(truth.voxels.shape) - 1
    inside = ((place >= 1e-6) & (place <= last - 1e-6)).all(axis=-1)
    assert inside.sum() > 0.7 * truth.voxels.size
    np.testing.assert_allclose(volume.voxels[inside], values[inside], atol=1.0)
    far_outside = ((place < -1.01) | (place > last + 1.01)).any(axis=-1)
    assert far_outside.any()
    assert (volume.voxels[far_outside] == -1024).all()


def test_row_01_no_corner_of_a_tilted_stack_is_pushed_out(tmp_path: Path) -> None:
    truth = tilted(25.0)
    write(slices(truth), tmp_path)
    geometry = outcome(tmp_path).only.geometry
    corners = np.array([[i, j, k] for i in (0, 15) for j in (0, 13) for k in (0, 8)], dtype=float)
    world = corners @ truth.affine[:3, :3].T + truth.affine[:3, 3]
    index = world @ geometry.affine.inverse()[:3, :3].T + geometry.affine.inverse()[:3, 3]
    assert (index > -0.51).all()
    assert (index < np.array(geometry.shape) - 0.49).all()


def test_row_01_the_tilt_tag_of_an_upright_stack_lies(tmp_path: Path) -> None:
    truth = truth_of()
    write(slices(truth, GantryDetectorTilt=20), tmp_path)
    volume = outcome(tmp_path).only
    assert_same(volume, truth)
    assert "tilt" not in notes(volume)


def test_row_01_a_third_of_a_degree_is_kept_as_it_is(tmp_path: Path) -> None:
    truth = tilted(0.3)
    write(slices(truth), tmp_path)
    assert_same(outcome(tmp_path).only, truth)


def test_row_01_the_source_slices_of_a_tilted_stack_lie_on_its_sheared_grid(tmp_path: Path) -> None:
    truth = tilted(15.0)
    write(slices(truth), tmp_path)
    found = outcome(tmp_path, upright=False)
    (series,) = found.series.values()
    positions = [list(map(float, dataset.ImagePositionPatient)) for dataset in source_datasets(series)]
    np.testing.assert_allclose(positions, [truth.at(k) for k in range(9)], atol=1e-6)


# Row 2: missing slices.


@pytest.mark.parametrize("missing", [[3], [3, 4], [2, 6]])
def test_row_02_missing_slices_are_refused(tmp_path: Path, missing: list[int]) -> None:
    datasets = slices(truth_of((6, 5, 9)))
    write([dataset for k, dataset in enumerate(datasets) if k not in missing], tmp_path)
    found = outcome(tmp_path)
    assert not found.volumes
    assert "MISSING_SLICES" in found.reasons
    assert any(line.startswith("MISSING_SLICES") and uid("series") in line for line in found.lines)


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_row_02_missing_slices_are_interpolated_when_asked_and_said(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    truth = linear_truth((6, 5, 9), orientation=orientation)
    write([dataset for k, dataset in enumerate(slices(truth)) if k not in (3, 4, 6)], tmp_path)
    volume = outcome(tmp_path, fill_gaps=True).only
    assert_same(volume, truth, atol=1.0)
    assert "3" in notes(volume)
    assert "interpolat" in notes(volume)


def test_row_02_a_whole_stack_is_the_same_with_and_without_filling(tmp_path: Path) -> None:
    truth = truth_of()
    write(slices(truth), tmp_path)
    volume = outcome(tmp_path, fill_gaps=True).only
    assert_same(volume, truth)
    assert "interpolat" not in notes(volume)


# Row 3: jitter.


def test_row_03_float_jitter_is_no_uneven_spacing(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 12), spacing=(0.5, 0.5, 0.3))
    places = [40 + (0.3 if k % 2 else 0.2999999) * k for k in range(12)]
    each = lambda k: {"ImagePositionPatient": [-20, 30, float(f"{places[k]:.10f}")]}  # noqa: E731
    write(slices(truth, each=each), tmp_path)
    assert_same(outcome(tmp_path).only, truth)


@pytest.mark.parametrize("seed", range(4))
def test_row_03_jitter_of_a_thousandth_keeps_one_volume_and_its_place(tmp_path: Path, seed: int) -> None:
    truth = truth_of((6, 5, 12), spacing=(0.7, 0.7, 0.9))
    jitter = np.random.default_rng(seed).uniform(-4e-4, 4e-4, 12)
    each = lambda k: {"ImagePositionPatient": decimals(np.add(truth.at(k), (0, 0, jitter[k])))}  # noqa: E731
    write(slices(truth, each=each), tmp_path)
    assert_same(outcome(tmp_path).only, truth)


# Row 4: uneven spacing.


@pytest.mark.parametrize("thin_first", [True, False])
def test_row_04_thin_and_thick_blocks_become_parts(tmp_path: Path, thin_first: bool) -> None:
    gaps = [1.0] * 6 + [5.0] * 5 if thin_first else [5.0] * 5 + [1.0] * 6
    places = [40 + float(sum(gaps[:k])) for k in range(12)]
    truth = truth_of((6, 5, 12))
    write(slices(truth, each=lambda k: {"ImagePositionPatient": [-20, 30, places[k]]}), tmp_path)
    found = outcome(tmp_path)
    assert not found.refusals
    assert all(name.startswith("block-") for name in found.parts)
    assert len(found.parts) == 2
    assert_every_slice_in_its_place(found, truth, places, np.array([0, 0, 1]))
    assert sorted(round(float(v.geometry.affine.spacing_mm[2]), 3) for v in found.volumes.values()) == [1, 5]


def test_row_04_spacing_without_a_pattern_is_refused(tmp_path: Path) -> None:
    places = np.cumsum([0, 1, 1.7, 2.9, 1.3, 2.2, 1.1, 3.1])
    truth = truth_of((6, 5, 8))
    write(slices(truth, each=lambda k: {"ImagePositionPatient": [-20, 30, 40 + float(places[k])]}), tmp_path)
    found = outcome(tmp_path)
    assert found.reasons & {"UNEVEN_SPACING", "MISSING_SLICES"}
    assert not found.volumes


def test_row_04_slices_that_leave_the_line_are_refused(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 8))
    each = lambda k: {"ImagePositionPatient": decimals(np.add(truth.at(k), (7.0 * (k == 3), 0, 0)))}  # noqa: E731
    write(slices(truth, each=each), tmp_path)
    found = outcome(tmp_path)
    assert "INCONSISTENT_GEOMETRY" in found.reasons
    assert not found.volumes


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
            numbers = {"InstanceNumber": 4 * n + k + 1, "SOPInstanceUID": uid("telling", n, k)}
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
    for volume in found.volumes.values():
        match = next(n for n, truth in enumerate(left) if np.array_equal(truth.voxels, volume.voxels))
        assert_same(volume, left.pop(match))


NAMES = {
    "echo": {"echo-1", "echo-2"},
    "echo time alone": {"echo-1", "echo-2", "echo-3"},
    "time": {"time-1", "time-2", "time-3"},
    "b": {"b-0", "b-500", "b-1000"},
    "b of GE": {"b-0", "b-800"},
    "b of Siemens": {"b-0", "b-1000"},
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


# Row 7: instance numbers and names.


@pytest.mark.parametrize("numbers", ["shuffled", "equal", "absent", "reversed", "negative"])
@pytest.mark.parametrize("orientation", ["axial", "oblique"])
def test_row_07_positions_order_slices_and_never_instance_numbers(
    tmp_path: Path, numbers: str, orientation: str
) -> None:
    truth = truth_of((6, 5, 9), orientation=ORIENTATIONS[orientation])
    shuffled = np.random.default_rng(5).permutation(9).tolist()
    number = {"shuffled": lambda k: shuffled[k], "equal": lambda _: 1, "absent": lambda _: None}
    number |= {"reversed": lambda k: 100 - k, "negative": lambda k: -k}
    write(slices(truth, each=lambda k: {"InstanceNumber": number[numbers](k)}), tmp_path)
    assert_same(outcome(tmp_path).only, truth)


def test_row_07_any_names_and_nesting(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 8))
    names = ["a/b/c/IM1", "a/IM.1.2.3", "Z.dcm", "x.ima", "deep/er/und weiter/ä ö", "1", "report.dat", "a/b/2.DCM"]
    write(slices(truth), tmp_path, names=names)
    assert_same(outcome(tmp_path).only, truth)


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


# Row 20, 21, 22: spacings and orientations.


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_row_20_and_22_every_voxel_lies_where_the_headers_say(tmp_path: Path, orientation: str) -> None:
    truth = truth_of((7, 5, 4), orientation=ORIENTATIONS[orientation], spacing=(0.4, 1.7, 3.1))
    write(slices(truth), tmp_path)
    volume = outcome(tmp_path).only
    assert_same(volume, truth)
    np.testing.assert_allclose(volume.geometry.affine.spacing_mm, (0.4, 1.7, 3.1), atol=1e-6)


def test_row_20_pixel_spacing_is_between_rows_first(tmp_path: Path) -> None:
    write(slices(truth_of(), PixelSpacing=[3.0, 0.25]), tmp_path)
    np.testing.assert_allclose(outcome(tmp_path).only.geometry.affine.spacing_mm[:2], (0.25, 3.0))


@pytest.mark.parametrize(
    "tags",
    [
        {"SliceThickness": 9.0, "SpacingBetweenSlices": 7.0},
        {"SliceThickness": 0.0, "SpacingBetweenSlices": -2.5},
        {"SliceThickness": None, "SpacingBetweenSlices": None},
        {"SliceThickness": "", "SliceLocation": 5},
    ],
)
def test_row_21_nominal_thickness_and_spacing_are_ignored(tmp_path: Path, tags: dict[str, Any]) -> None:
    truth = truth_of()
    write(slices(truth, **tags), tmp_path)
    assert_same(outcome(tmp_path).only, truth)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_row_22_a_landmark_stays_at_its_place_all_the_way_to_nifti(tmp_path: Path, orientation: str) -> None:
    import nibabel

    from medfuse.ingest import write_nifti

    truth = truth_of((7, 5, 4), orientation=ORIENTATIONS[orientation], low=0)
    truth.voxels[5, 1, 2] = 3000
    write(slices(truth), tmp_path / "in")
    write_nifti(outcome(tmp_path / "in").only, tmp_path / "out.nii")
    image = nibabel.load(tmp_path / "out.nii")
    index = np.unravel_index(np.argmax(image.get_fdata()), image.shape)
    ras = image.affine @ [*index, 1]
    np.testing.assert_allclose(ras[:3] * [-1, -1, 1], (truth.affine @ [5, 1, 2, 1])[:3], atol=1e-3)


# Row 23: NIfTI.


def nifti(path: Path, sform: Any, *, qform: Any = None, sform_code: int = 1, qform_code: int = 0) -> NDArray[Any]:
    import nibabel

    voxels = np.random.default_rng(3).integers(0, 100, (5, 4, 3)).astype(np.int16)
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    image.header.set_sform(sform, code=sform_code)
    image.header.set_qform(qform, code=qform_code)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, None, image.header), path)
    return voxels


FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def test_row_23_a_sheared_nifti_keeps_its_affine(tmp_path: Path) -> None:
    affine = affine_of(shear=(0, 0.8, 0))
    voxels = nifti(tmp_path / "a.nii", FLIP @ affine)
    assert_same(outcome(tmp_path, upright=False).only, Truth(voxels=voxels, affine=affine))


def test_row_23_a_left_handed_nifti_keeps_its_affine(tmp_path: Path) -> None:
    affine = affine_of() @ np.diag([-1.0, 1, 1, 1])
    voxels = nifti(tmp_path / "a.nii", FLIP @ affine)
    assert_same(outcome(tmp_path).only, Truth(voxels=voxels, affine=affine))


def test_row_23_the_sform_counts_where_both_are_set(tmp_path: Path) -> None:
    affine = affine_of()
    shifted = affine.copy()
    shifted[:3, 3] += 30
    voxels = nifti(tmp_path / "a.nii", FLIP @ affine, qform=FLIP @ shifted, qform_code=1)
    assert_same(outcome(tmp_path).only, Truth(voxels=voxels, affine=affine))


def test_row_23_the_qform_counts_where_the_sform_is_not_set(tmp_path: Path) -> None:
    affine = affine_of(orientation=OBLIQUE)
    voxels = nifti(tmp_path / "a.nii", np.eye(4), sform_code=0, qform=FLIP @ affine, qform_code=1)
    assert_same(outcome(tmp_path).only, Truth(voxels=voxels, affine=affine))


def test_row_23_a_flat_affine_is_refused(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii", FLIP @ affine_of() @ np.diag([1.0, 1, 0, 1]))
    found = outcome(tmp_path)
    assert "INCONSISTENT_GEOMETRY" in found.reasons
    assert not found.volumes


# Refusals of geometry without meaning.


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "INCONSISTENT_GEOMETRY"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 2, 0]}, "INCONSISTENT_GEOMETRY"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "INCONSISTENT_GEOMETRY"),
        ({"PixelSpacing": [0, 1]}, "INCONSISTENT_GEOMETRY"),
        ({"PixelSpacing": [-1, 1]}, "INCONSISTENT_GEOMETRY"),
        ({"PixelSpacing": None}, "MISSING_GEOMETRY"),
    ],
)
def test_geometry_without_meaning_is_refused(tmp_path: Path, tags: dict[str, Any], reason: str) -> None:
    write(slices(truth_of(), **tags), tmp_path)
    found = outcome(tmp_path)
    assert reason in found.reasons
    assert not found.volumes


def test_a_bad_series_leaves_the_others_alone(tmp_path: Path) -> None:
    truth = truth_of(seed=9)
    write(slices(truth, series="good"), tmp_path / "a")
    write(slices(truth_of(), series="bad", PixelSpacing=[0, 1]), tmp_path / "b")
    found = outcome(tmp_path)
    assert_same(found.of("good"), truth)
    assert any(line.startswith("INCONSISTENT_GEOMETRY") and uid("bad") in line for line in found.lines)


def test_reading_leaves_a_series_unchanged_for_the_next_reader(tmp_path: Path) -> None:
    save(slices(truth_of((6, 5, 1)))[0], tmp_path / "x")
    (series,) = outcome(tmp_path).series.values()
    np.testing.assert_array_equal(read_volume(series).voxels, read_volume(series).voxels)
