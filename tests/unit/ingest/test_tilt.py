"""A sheared volume set upright: values stay where they are in the patient, and nothing is cut off."""

import numpy as np
import pytest

from medfuse.domain import Affine, Volume, VolumeGeometry
from medfuse.ingest.dicom.tilt import make_upright, tilt_degrees

AIR = -1024.0


def sheared(
    shape: tuple[int, int, int] = (9, 8, 6),
    shear: tuple[float, float] = (0.0, 1.3),
    direction: np.ndarray | None = None,
) -> Volume:
    """A linear field on a grid of spacing (0.5, 1.5, 2.0) whose k axis leans by `shear` mm along i and j."""
    turn = np.eye(3) if direction is None else direction
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.array([[0.5, 0, shear[0]], [0, 1.5, shear[1]], [0, 0, 2.0]])
    matrix[:3, 3] = (-20, 30, 40)
    geometry = VolumeGeometry(shape=shape, affine=Affine(matrix))
    return Volume(voxels=field(geometry), geometry=geometry)


def field(geometry: VolumeGeometry) -> np.ndarray:
    world = geometry.affine.apply(np.moveaxis(np.indices(geometry.shape), 0, -1))
    return np.asarray(world @ np.array([3.0, -2.0, 5.0]), dtype=np.float32)


def place_in(volume: Volume, other: Volume) -> np.ndarray:
    """Index in `other` of each voxel of `volume`, shape `(I, J, K, 3)`."""
    matrix = other.geometry.affine.inverse() @ volume.geometry.affine.matrix
    return np.moveaxis(np.indices(volume.geometry.shape), 0, -1) @ matrix[:3, :3].T + matrix[:3, 3]


TURN = np.array([[0.8, 0.0, 0.6], [0.6, 0.0, -0.8], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize("shear", [(0.0, 1.3), (0.0, -1.3), (0.7, -0.4), (0.0, 0.1)])
@pytest.mark.parametrize("direction", [None, TURN])
def test_values_stay_at_their_place_in_the_patient(shear: tuple[float, float], direction: np.ndarray | None) -> None:
    source = sheared(shear=shear, direction=direction)
    upright = make_upright(source, outside=AIR)
    assert upright.geometry.affine.is_orthogonal
    np.testing.assert_allclose(upright.geometry.affine.spacing_mm, (0.5, 1.5, 2.0))
    place = place_in(upright, source)
    last = np.array(source.geometry.shape) - 1
    inside = ((place > -1e-6) & (place < last + 1e-6)).all(axis=-1)
    assert inside.sum() > 0.8 * source.voxels.size
    np.testing.assert_allclose(upright.voxels[inside], field(upright.geometry)[inside], atol=1e-3)
    outside = ((place < -0.51) | (place > last + 0.51)).any(axis=-1)
    assert (upright.voxels[outside] == AIR).all()
    assert outside.any()


@pytest.mark.parametrize("shear", [(0.0, 1.3), (0.7, -0.4)])
def test_no_voxel_is_cut_off(shear: tuple[float, float]) -> None:
    source = sheared(shear=shear)
    place = place_in(source, make_upright(source, outside=AIR))
    shape = np.array(make_upright(source, outside=AIR).geometry.shape)
    assert (place > -1e-6).all()
    assert (place < shape - 1 + 1e-6).all()


def test_a_shear_of_whole_voxels_moves_values_untouched() -> None:
    source = sheared(shear=(0.0, 3.0))
    upright = make_upright(source, outside=AIR)
    assert upright.geometry.shape == (9, 8 + 2 * 5, 6)
    for k in range(6):
        np.testing.assert_array_equal(upright.voxels[:, 2 * k : 2 * k + 8, k], source.voxels[:, :, k])


def test_the_slices_stay_in_their_planes() -> None:
    source = sheared()
    upright = make_upright(source, outside=AIR)
    np.testing.assert_allclose(upright.geometry.affine.apply((0, 0, 3))[2], source.geometry.affine.apply((0, 0, 3))[2])


@pytest.mark.parametrize("degrees", [0.0, 0.4])
def test_an_upright_volume_is_left_alone(degrees: float) -> None:
    source = sheared(shear=(0.0, 2 * float(np.tan(np.radians(degrees)))))
    assert make_upright(source, outside=AIR) is source


def test_it_is_said_with_the_angle() -> None:
    upright = make_upright(sheared(shear=(0.0, 2 * float(np.tan(np.radians(15))))), outside=AIR)
    (line,) = upright.provenance
    assert "15.00 degrees" in line
    assert "gantry tilt" in line


def test_a_left_handed_grid_keeps_its_handedness() -> None:
    source = sheared(direction=np.diag([1.0, 1.0, -1.0]))
    upright = make_upright(source, outside=AIR)
    assert np.linalg.det(upright.geometry.affine.matrix[:3, :3]) < 0
    np.testing.assert_allclose(upright.geometry.affine.apply((0, 0, 3))[2], source.geometry.affine.apply((0, 0, 3))[2])


def test_a_grid_sheared_along_its_first_axis_is_set_upright_too() -> None:
    source = sheared(shear=(0.7, -0.4))
    matrix = source.geometry.affine.matrix[:, [2, 1, 0, 3]]
    shape = (source.geometry.shape[2], source.geometry.shape[1], source.geometry.shape[0])
    turned = Volume(
        voxels=source.voxels.transpose(2, 1, 0), geometry=VolumeGeometry(shape=shape, affine=Affine(matrix))
    )
    upright = make_upright(turned, outside=AIR)
    expected = make_upright(source, outside=AIR).voxels.transpose(2, 1, 0)
    np.testing.assert_allclose(upright.voxels, expected, atol=1e-4)


def test_a_grid_without_two_perpendicular_axes_is_left_alone() -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = [[1, 0.5, 0.3], [0, 1, 0.4], [0, 0, 1]]
    geometry = VolumeGeometry(shape=(3, 3, 3), affine=Affine(matrix))
    source = Volume(voxels=field(geometry), geometry=geometry)
    assert make_upright(source, outside=AIR) is source


def test_the_angle_is_that_to_the_normal() -> None:
    assert tilt_degrees(np.array([[1.0, 0, 0], [0, 1, 1], [0, 0, 1]]), 2) == pytest.approx(45)
    assert tilt_degrees(np.array([[1.0, 0, 0], [0, 1, -1], [0, 0, -1]]), 2) == pytest.approx(45)
