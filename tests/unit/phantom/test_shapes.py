import numpy as np
import pytest

from medfuse.domain import Affine, VolumeGeometry
from medfuse.phantom import shapes

GRID = VolumeGeometry(
    shape=(40, 30, 20),
    affine=Affine.from_parts(origin_mm=(-39, -29, -28.5), direction=np.eye(3), spacing_mm=(2, 2, 3)),
)


def test_positions_are_those_of_the_affine() -> None:
    points = shapes.positions(GRID, centre_mm=(1, 2, 3))
    assert points[:, 7, 5, 3] == pytest.approx(GRID.affine.apply((7, 5, 3)) - (1, 2, 3))


def test_ellipsoid_of_equal_radii_is_the_distance_to_a_sphere() -> None:
    points = shapes.positions(GRID)
    expected = np.linalg.norm(points - np.array([4, 0, 1])[:, None, None, None], axis=0) - 9
    assert shapes.ellipsoid(points, (4, 0, 1), (9, 9, 9)) == pytest.approx(expected, abs=1e-3)


def test_covered_volume_is_that_of_the_ellipsoid() -> None:
    fraction = shapes.cover(shapes.ellipsoid(shapes.positions(GRID), (0, 0, 0), (20, 15, 18)), 2.0)
    assert fraction.sum() * GRID.voxel_volume_mm3 == pytest.approx(4 / 3 * np.pi * 20 * 15 * 18, rel=0.03)


def test_texture_is_standardised_and_smooth() -> None:
    noise = shapes.texture(np.random.default_rng(0), GRID, 6.0)
    assert abs(float(noise.mean())) < 1e-4
    assert float(noise.std()) == pytest.approx(1, abs=1e-4)
    assert np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1] > 0.8


def test_tubes_fill_the_volume_of_a_cylinder() -> None:
    path = shapes.line((-20, 0, 0), (20, 0, 0), 1.0)
    filled = shapes.tubes(np.random.default_rng(0), GRID, path, np.full(len(path), 1.0), 1.0)
    assert filled.sum() * GRID.voxel_volume_mm3 == pytest.approx(np.pi * 41, rel=0.02)
    assert filled.max() <= 1


def test_nearest_fills_the_wanted_volume_within_the_allowed_voxels() -> None:
    points = shapes.positions(GRID)
    allowed = points[0] > 0
    chosen = shapes.nearest(shapes.ellipsoid(points, (2, 0, 0), (5, 5, 5)), allowed, 2400, GRID.voxel_volume_mm3)
    assert np.count_nonzero(chosen) == 200
    assert not (chosen & ~allowed).any()


@pytest.mark.parametrize(("volume", "expected"), [(0, 0), (1e9, 40 * 30 * 20)])
def test_nearest_at_its_ends(volume: float, expected: int) -> None:
    allowed = np.ones(GRID.shape, dtype=bool)
    distance = shapes.texture(np.random.default_rng(0), GRID, 3.0)
    assert np.count_nonzero(shapes.nearest(distance, allowed, volume, GRID.voxel_volume_mm3)) == expected


@pytest.mark.parametrize("where", [0.0, 0.5, 0.999, 1.0])
def test_place_keeps_clear_of_what_is_not_allowed(where: float) -> None:
    allowed = np.zeros(GRID.shape, dtype=bool)
    allowed[5:35, 5:25, 3:17] = True
    i, j, k = shapes.place(allowed, GRID, 12.0, where)
    assert 10 <= i < 30
    assert 10 <= j < 20
    assert 6 <= k < 14


def test_place_takes_the_roomiest_voxel_when_there_is_too_little_room() -> None:
    allowed = np.zeros(GRID.shape, dtype=bool)
    allowed[9:12, 9:12, 9:12] = True
    assert shapes.place(allowed, GRID, 50.0, 0.3)[0] == 10


def test_equivalent_diameter_of_a_sphere() -> None:
    assert shapes.equivalent_diameter_mm(4 / 3 * np.pi * 10**3) == pytest.approx(20)
