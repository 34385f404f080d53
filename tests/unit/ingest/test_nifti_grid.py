"""Grids of NIfTI files: sform against qform, units, spacings, shear, and corrections from a table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medfuse.domain import Affine, HeaderCorrection, Modality
from medfuse.errors import UnreadableFileError, UnreadableSeriesError
from medfuse.ingest.nifti import nifti_series, plane_of, read_label_map, read_nifti

SHAPE = (40, 30, 20)
RAS = np.array([[-1, 0, 0, 12], [0, -2, 0, 25], [0, 0, 3, -40], [0, 0, 0, 1]], float)


def rotated(degrees: float) -> np.ndarray:
    """RAS, turned about the z axis around the grid's first voxel."""
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix = RAS.copy()
    matrix[:3, :3] = turn[:3, :3] @ RAS[:3, :3]
    return matrix


def sheared(axis: int, on: int, by: float) -> np.ndarray:
    """RAS with axis `axis` leaning towards axis `on`."""
    matrix = RAS.copy()
    matrix[:3, axis] += by * RAS[:3, on] / np.linalg.norm(RAS[:3, on])
    return matrix


def file(
    path: Path,
    *,
    sform: Any = RAS,
    qform: Any = RAS,
    codes: tuple[int, int] = (1, 1),
    unit: str = "mm",
    raw: Callable[[bytearray], None] | None = None,
) -> Path:
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), None)
    image.header.set_xyzt_units(unit)
    image.header.set_qform(qform, code=codes[1])
    image.header.set_sform(sform, code=codes[0])
    path = path / "x.nii"
    nibabel.save(image, path)
    if raw is not None:
        data = bytearray(path.read_bytes())
        raw(data)
        path.write_bytes(data)
    return path


def put(offset: int, *values: float) -> Callable[[bytearray], None]:
    def write(data: bytearray) -> None:
        data[offset : offset + 4 * len(values)] = np.array(values, "<f4").tobytes()

    return write


PIXDIM_1, PIXDIM_3, QUATERN_B, SROW_X = 80, 88, 256, 280


def test_forms_that_agree_are_taken_in_silence(tmp_path: Path) -> None:
    volume = read_nifti(file(tmp_path))
    assert volume.geometry.affine.is_close(Affine.from_ras(RAS))
    assert volume.provenance == ()


def test_a_shifted_qform_is_said_and_the_sform_taken(tmp_path: Path) -> None:
    shifted = RAS.copy()
    shifted[0, 3] += 7
    volume = read_nifti(file(tmp_path, qform=shifted))
    assert volume.geometry.affine.is_close(Affine.from_ras(RAS))
    assert volume.provenance == ("sform and qform of the header are up to 7.00 mm apart: took the sform",)


@pytest.mark.parametrize("qform", [RAS @ np.diag([-1.0, 1, 1, 1]), rotated(5), RAS @ np.diag([1.5, 1, 1, 1])])
def test_forms_of_one_space_with_other_axes_are_refused(tmp_path: Path, qform: np.ndarray) -> None:
    with pytest.raises(UnreadableSeriesError, match=r"x\.nii: its sform and qform claim the same space") as caught:
        read_nifti(file(tmp_path, qform=qform))
    assert caught.value.reason == "INCONSISTENT_GEOMETRY"


def test_forms_of_two_spaces_may_differ(tmp_path: Path) -> None:
    volume = read_nifti(file(tmp_path, qform=rotated(20), codes=(4, 1)))
    assert volume.geometry.affine.is_close(Affine.from_ras(RAS))
    assert "took the sform" in volume.provenance[0]


def test_a_qform_alone_is_taken(tmp_path: Path) -> None:
    volume = read_nifti(file(tmp_path, sform=None, qform=rotated(30), codes=(0, 1)))
    assert volume.geometry.affine.is_close(Affine.from_ras(rotated(30)), tolerance_mm=1e-4)
    assert volume.provenance == ()


def test_a_broken_sform_gives_way_to_the_qform(tmp_path: Path) -> None:
    volume = read_nifti(file(tmp_path, raw=put(SROW_X, 0, 0, 0, 0)))
    assert volume.geometry.affine.is_close(Affine.from_ras(RAS), tolerance_mm=1e-4)
    assert volume.provenance == ("the header's sform cannot be inverted: took its qform",)


@pytest.mark.parametrize("raw", [put(SROW_X, 0, 0, 0, 0), put(SROW_X, np.nan)])
def test_no_form_that_can_be_inverted_is_refused(tmp_path: Path, raw: Callable[[bytearray], None]) -> None:
    path = file(tmp_path, qform=None, codes=(1, 0), raw=raw)
    with pytest.raises(UnreadableSeriesError, match="neither its sform nor its qform"):
        read_nifti(path)
    with pytest.raises(UnreadableFileError, match="neither its sform nor its qform"):
        nifti_series(path)
    with pytest.raises(UnreadableFileError) as caught:
        read_label_map(path)
    assert caught.value.reason == "INCONSISTENT_GEOMETRY"


@pytest.mark.parametrize("value", [-2.0, 0.0])
def test_spacings_that_are_none_are_refused_where_they_count(tmp_path: Path, value: float) -> None:
    path = file(tmp_path, sform=None, codes=(0, 1), raw=put(PIXDIM_1, value))
    with pytest.raises(UnreadableSeriesError, match=rf"spacings are {value:g} x 2 x 3 mm") as caught:
        read_nifti(path)
    assert caught.value.reason == "INCONSISTENT_GEOMETRY"


@pytest.mark.parametrize("value", [-2.0, 0.0])
def test_spacings_that_are_none_are_said_where_the_sform_counts(tmp_path: Path, value: float) -> None:
    volume = read_nifti(file(tmp_path, raw=put(PIXDIM_3, value)))
    assert volume.geometry.affine.is_close(Affine.from_ras(RAS))
    assert volume.provenance == (f"the header's spacings are 1 x 2 x {value:g} mm: took those of its sform",)


def test_a_quaternion_that_is_no_rotation_is_refused_where_it_counts(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSeriesError):
        read_nifti(file(tmp_path, sform=None, codes=(0, 1), raw=put(QUATERN_B, 3.0)))


def test_a_header_without_forms_says_what_is_assumed(tmp_path: Path) -> None:
    volume = read_nifti(file(tmp_path, sform=None, qform=None, codes=(0, 0), raw=put(PIXDIM_1, 1, 2, 3)))
    assert volume.geometry.affine.orientation == "LAS"
    assert volume.geometry.affine.spacing_mm == pytest.approx((1, 2, 3))
    assert "no orientation" in volume.provenance[0]


def test_lengths_in_other_units_become_mm(tmp_path: Path) -> None:
    in_metres = RAS.copy()
    in_metres[:3] /= 1000
    volume = read_nifti(file(tmp_path, sform=in_metres, qform=in_metres, unit="meter"))
    assert volume.geometry.affine.is_close(Affine.from_ras(RAS), tolerance_mm=1e-3)
    assert "multiplied by 1000 to mm" in volume.provenance[0]


def test_lengths_that_no_image_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSeriesError, match="which no image has"):
        read_nifti(file(tmp_path, unit="meter"))


def test_axes_off_by_rounding_are_set_upright(tmp_path: Path) -> None:
    volume = read_nifti(file(tmp_path, sform=sheared(2, 0, 0.006), qform=None, codes=(1, 0)))
    assert volume.geometry.affine.is_orthogonal
    corners = np.array([[0, 0, 0], [39, 29, 19], [0, 29, 0], [39, 0, 19]])
    moved = volume.geometry.affine.apply(corners) - Affine.from_ras(sheared(2, 0, 0.006)).apply(corners)
    assert np.linalg.norm(moved, axis=1).max() < 0.1
    assert volume.geometry.centre_mm == pytest.approx(Affine.from_ras(sheared(2, 0, 0.006)).apply((19.5, 14.5, 9.5)))
    assert "not quite perpendicular" in volume.provenance[0]


def test_a_tilted_stack_stays_as_it_is_and_is_said(tmp_path: Path) -> None:
    matrix = sheared(2, 1, 3 * np.tan(np.deg2rad(12)))
    volume = read_nifti(file(tmp_path, sform=matrix, qform=None, codes=(1, 0)))
    assert volume.geometry.affine.is_close(Affine.from_ras(matrix), tolerance_mm=1e-4)
    assert volume.provenance == ("the slices are stacked askew, 12.0 degrees off their normal",)


def test_slices_whose_rows_and_columns_lean_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSeriesError, match="its i and j axes meet at") as caught:
        read_nifti(file(tmp_path, sform=sheared(1, 0, 0.5), qform=None, codes=(1, 0)))
    assert caught.value.reason == "INCONSISTENT_GEOMETRY"


def test_a_correction_takes_the_place_of_the_header(tmp_path: Path) -> None:
    correction = HeaderCorrection(
        source="the table",
        spacing_mm=(0.5, 0.6, 2.0),
        orientation=(0.8, 0.6, 0, 0.6, -0.8, 0),
        position_mm=(1, 2, 3),
        slope=2.0,
        intercept=-1000.0,
    )
    volume = read_nifti(file(tmp_path), modality=Modality.MR, correction=correction)
    assert volume.geometry.affine.apply((0, 0, 0)) == pytest.approx((1, 2, 3))
    assert volume.geometry.affine.apply((1, 0, 0)) == pytest.approx((1.4, 2.3, 3))
    assert volume.geometry.affine.apply((0, 1, 0)) == pytest.approx((1.36, 1.52, 3))
    assert volume.geometry.affine.apply((0, 0, 1)) == pytest.approx((1, 2, 1))
    assert set(volume.voxels.ravel()) == {-1000}
    assert volume.provenance == (
        "took the grid from the table in place of the header's",
        "rescaled by 2 and -1000 as the table says",
    )
    (series,) = nifti_series(file(tmp_path), modality=Modality.CT, correction=correction)
    assert series.acquisition.spacing_mm == (0.5, 0.6, 2.0)
    assert series.correction is correction


def test_a_correction_of_the_spacing_keeps_the_axes(tmp_path: Path) -> None:
    volume = read_nifti(file(tmp_path), correction=HeaderCorrection(source="the table", spacing_mm=(5, 6, 7)))
    header = Affine.from_ras(RAS)
    assert np.allclose(volume.geometry.affine.direction, header.direction)
    assert volume.geometry.affine.spacing_mm == pytest.approx((5, 6, 7))
    assert volume.geometry.affine.origin_mm == pytest.approx(header.origin_mm)


@pytest.mark.parametrize("orientation", [(1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0), (1, 0, 0, 0.1, 1, 0)])
def test_a_correction_that_is_no_rotation_is_refused(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    correction = HeaderCorrection(source="the table", orientation=orientation)  # type: ignore[arg-type]
    with pytest.raises(UnreadableSeriesError, match="no pair of perpendicular unit vectors"):
        read_nifti(file(tmp_path), correction=correction)


def test_a_ct_that_is_rescaled_twice_is_refused(tmp_path: Path) -> None:
    correction = HeaderCorrection(source="the table", slope=1.0, intercept=-1024.0)
    with pytest.raises(UnreadableSeriesError, match="seems to hold HU already") as caught:
        read_nifti(file(tmp_path), modality=Modality.CT, correction=correction)
    assert caught.value.reason == "HU_IMPLAUSIBLE"


@pytest.mark.parametrize(
    "values", [{"spacing_mm": (1, 0, 1)}, {"spacing_mm": (1, np.inf, 1)}, {"slope": 0.0}, {"intercept": np.nan}]
)
def test_a_correction_checks_itself(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"spacings are above|finite numbers"):
        HeaderCorrection(source="the table", **values)


@pytest.mark.parametrize(
    ("direction", "plane"),
    [
        (np.eye(3), "axial"),
        (np.eye(3)[:, [2, 0, 1]], "coronal"),
        (np.eye(3)[:, [1, 2, 0]], "sagittal"),
        ([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]], "oblique"),
    ],
)
def test_the_plane_of_a_grid(direction: Any, plane: str) -> None:
    assert plane_of(Affine.from_parts(origin_mm=(0, 0, 0), direction=direction, spacing_mm=(1, 1, 1))) == plane
