"""Where voxels lie: rows 1-4, 7 and 20-22 of the pitfalls, see `test_pitfalls.py`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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
    inside = ((place >= -1e-6) & (place <= last + 1e-6)).all(axis=-1)
    assert inside.sum() > 0.8 * truth.voxels.size
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


@pytest.mark.parametrize("missing", [[3], [4], [3, 4], [2, 6], [1], [7]])
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


@pytest.mark.parametrize("places", [[0, 2, 6], [0, 4, 6], [0, 1, 2, 3, 5, 7, 9, 11], [0, 1, 3, 4, 6, 7], [0, 3, 4, 5]])
def test_row_02_slices_with_holes_never_become_one_even_volume(tmp_path: Path, places: list[int]) -> None:
    truth = truth_of((6, 5, len(places)))
    at = [40.0 + place for place in places]
    write(slices(truth, each=lambda k: {"ImagePositionPatient": [-20, 30, at[k]]}), tmp_path)
    found = outcome(tmp_path)
    if found.volumes:
        assert len(found.volumes) > 1
        assert_every_slice_in_its_place(found, truth, at, np.array([0, 0, 1]))
    else:
        assert found.reasons & {"MISSING_SLICES", "UNEVEN_SPACING"}


def test_row_02_a_tilted_stack_with_a_hole_is_filled_along_its_shear(tmp_path: Path) -> None:
    truth = tilted(15.0)
    write([dataset for k, dataset in enumerate(slices(truth)) if k != 4], tmp_path)
    volume = outcome(tmp_path, fill_gaps=True, upright=False).only
    assert_same(volume, truth, atol=1.0)
    assert outcome(tmp_path, fill_gaps=True).only.geometry.affine.is_orthogonal


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


def test_row_03_noise_in_cosines_and_spacings_keeps_one_volume(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 9), orientation=OBLIQUE)
    noise = np.random.default_rng(2).uniform(-3e-6, 3e-6, (9, 8))

    def each(k: int) -> dict[str, Any]:
        cosines, spacing = np.add(OBLIQUE, noise[k, :6]), np.add((1.5, 0.5), noise[k, 6:])
        return {"ImageOrientationPatient": decimals(cosines), "PixelSpacing": decimals(spacing)}

    write(slices(truth, each=each), tmp_path)
    assert_same(outcome(tmp_path).only, truth)


def test_row_03_an_orientation_that_drifts_is_no_stack(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 6))
    angles = np.radians(np.arange(6) * 4.0)
    each = lambda k: {  # noqa: E731
        "ImageOrientationPatient": decimals(
            [np.cos(angles[k]), np.sin(angles[k]), 0, -np.sin(angles[k]), np.cos(angles[k]), 0]
        )
    }
    write(slices(truth, each=each), tmp_path)
    assert all(volume.geometry.shape[2] == 1 for volume in outcome(tmp_path).volumes.values())


@pytest.mark.parametrize("degrees", [0.1, 0.3])
def test_row_03_slices_turned_by_a_fraction_of_a_degree_are_no_noise(tmp_path: Path, degrees: float) -> None:
    """A turn of 0.1 degrees moves the far corner of a 400 mm slice by 0.7 mm."""
    truth = truth_of((6, 5, 8))
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = decimals([cosine, sine, 0, -sine, cosine, 0])
    write(slices(truth, each=lambda k: {"ImageOrientationPatient": turned} if k % 2 else {}), tmp_path)
    assert all(volume.geometry.shape[2] < 8 for volume in outcome(tmp_path).volumes.values())


def test_row_03_a_pixel_spacing_that_differs_by_half_a_per_cent_is_no_noise(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 8))
    write(slices(truth, each=lambda k: {"PixelSpacing": [1.5, 0.5025]} if k % 2 else {}), tmp_path)
    assert all(volume.geometry.shape[2] < 8 for volume in outcome(tmp_path).volumes.values())


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


@pytest.mark.parametrize("off", [0.15, 0.4, -0.3])
def test_row_04_one_slice_off_its_place_is_refused(tmp_path: Path, off: float) -> None:
    truth = truth_of((6, 5, 9))
    each = lambda k: {"ImagePositionPatient": decimals(np.add(truth.at(k), (0, 0, off * (k == 4))))}  # noqa: E731
    write(slices(truth, each=each), tmp_path)
    found = outcome(tmp_path)
    assert not found.volumes
    assert found.reasons & {"UNEVEN_SPACING", "MISSING_SLICES"}


def test_row_04_slices_that_leave_the_line_are_refused(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 8))
    each = lambda k: {"ImagePositionPatient": decimals(np.add(truth.at(k), (7.0 * (k == 3), 0, 0)))}  # noqa: E731
    write(slices(truth, each=each), tmp_path)
    found = outcome(tmp_path)
    assert "INCONSISTENT_GEOMETRY" in found.reasons
    assert not found.volumes


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
