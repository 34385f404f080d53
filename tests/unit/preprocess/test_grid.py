import numpy as np
import pytest

from medfuse.domain import Affine, VolumeGeometry
from medfuse.preprocess.grid import centred, extract, model_grid, resample, turned_spacing_mm


def geometry(shape: tuple[int, int, int], matrix: np.ndarray) -> VolumeGeometry:
    return VolumeGeometry(shape=shape, affine=Affine(matrix))


def grid(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], origin: tuple[float, ...] = (0, 0, 0)
) -> VolumeGeometry:
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = origin
    return geometry(shape, matrix)


def position_image(on: VolumeGeometry, weights: tuple[float, float, float]) -> np.ndarray:
    """An image that is linear in world position, which linear resampling keeps exactly."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in on.shape), indexing="ij"), axis=-1)
    return (on.affine.apply(index) @ np.array(weights)).astype(np.float32)


def test_the_model_grid_turns_axes_towards_lps_and_keeps_the_centre() -> None:
    matrix = np.array([[0, 0, -2.0, 30], [-1.0, 0, 0, 10], [0, 3.0, 0, -5], [0, 0, 0, 1]])
    source = geometry((10, 20, 30), matrix)
    target = model_grid(source, (1.0, 1.0, 1.0))
    assert target.affine.orientation == "LPS"
    assert target.shape == (60, 10, 60)
    np.testing.assert_allclose(target.centre_mm, source.centre_mm)


def test_the_model_grid_of_an_oblique_study_stays_oblique_and_covers_it() -> None:
    turn = np.eye(4)
    c, s = np.cos(0.3), np.sin(0.3)
    turn[:2, :2] = [[c, -s], [s, c]]
    source = geometry((20, 20, 10), turn)
    target = model_grid(source, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(target.affine.direction, source.affine.direction, atol=1e-12)
    assert target.shape == source.shape


def test_a_sheared_study_gets_an_upright_grid() -> None:
    shear = np.eye(4)
    shear[1, 2] = 0.3
    target = model_grid(geometry((10, 10, 10), shear), (1.0, 1.0, 1.0))
    assert target.affine.is_orthogonal
    assert target.shape == (10, 13, 10)


def test_aligned_grids_are_copied_exactly_flips_and_shifts_included() -> None:
    matrix = np.array([[0, -1.0, 0, 7], [1.0, 0, 0, -2], [0, 0, -1.0, 4], [0, 0, 0, 1]])
    source = geometry((5, 6, 7), matrix)
    voxels = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    target = grid((9, 8, 10), (1, 1, 1), origin=(1, -3, -4))
    out = resample(voxels, source, target, outside=-9)
    for index in np.ndindex(target.shape):
        there = np.rint(source.affine.inverse()[:3, :3] @ target.affine.apply(index) + source.affine.inverse()[:3, 3])
        inside = all(0 <= n < m for n, m in zip(there, source.shape, strict=True))
        expected = voxels[tuple(there.astype(int))] if inside else np.float32(-9)
        assert out[index] == expected


def test_linear_resampling_keeps_a_linear_image() -> None:
    source = grid((20, 20, 20), (1.0, 1.0, 1.0))
    target = grid((12, 9, 14), (1.3, 0.7, 1.1), origin=(2.2, 3.1, 1.7))
    out = resample(position_image(source, (1.0, -2.0, 0.5)), source, target)
    np.testing.assert_allclose(
        out[2:-2, 2:-2, 2:-2], position_image(target, (1.0, -2.0, 0.5))[2:-2, 2:-2, 2:-2], atol=0.15
    )


def test_an_anisotropic_direction_is_not_mixed_up() -> None:
    source = grid((30, 10, 20), (1.0, 3.0, 2.0))
    target = grid((10, 30, 20), (3.0, 1.0, 2.0))
    out = resample(position_image(source, (0.0, 0.0, 1.0)), source, target)
    np.testing.assert_allclose(out[3, 12], position_image(target, (0.0, 0.0, 1.0))[3, 12], atol=1e-3)


def test_downsampling_smooths_before_it_samples() -> None:
    source, target = grid((32, 32, 32), (1, 1, 1)), grid((8, 8, 8), (4, 4, 4), origin=(1.5, 1.5, 1.5))
    noise = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    assert resample(noise, source, target).std() < 0.25


def test_nearest_keeps_labels() -> None:
    source, target = grid((8, 8, 8), (2, 2, 2)), grid((15, 15, 15), (1.1, 1.1, 1.1))
    labels = np.random.default_rng(0).integers(0, 3, source.shape)
    assert set(np.unique(resample(labels, source, target, mode="nearest"))) <= {0, 1, 2}


def test_outside_the_source_stands_the_given_value() -> None:
    source, target = grid((4, 4, 4), (1.5, 1.5, 1.5)), grid((20, 20, 20), (1, 1, 1), origin=(-7, -7, -7))
    out = resample(np.zeros(source.shape), source, target, outside=-1000)
    assert out[0, 0, 0] == -1000
    assert out[9, 9, 9] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("shape", "size"), [((5, 9, 4), (8, 4, 4)), ((1, 1, 1), (3, 3, 3))])
def test_a_centred_block_pads_and_crops_evenly(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    array = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    block = extract(array, centred(shape, size), size)
    assert block.shape == size
    back = extract(block, tuple(-s for s in centred(shape, size)), shape)
    kept = back != 0
    assert np.array_equal(back[kept], array[kept])
    assert kept.sum() == np.prod([min(n, m) for n, m in zip(shape, size, strict=True)])


def sheared(lean: float = 0.35, spacing: tuple[float, float, float] = (0.8, 0.9, 2.5)) -> VolumeGeometry:
    """The grid of a tilted gantry: slices stay parallel and are shifted along j from one to the next."""
    turn = np.linalg.qr(np.array([[1, 0.1, 0.05], [-0.1, 1, 0.2], [0.0, -0.2, 1]]))[0]
    turn *= np.sign(np.diag(turn))
    axes = turn @ np.array([[1, 0, 0], [0, 1, lean], [0, 0, 1]]) * np.array(spacing)
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = (-20, 15, 40)
    return geometry((40, 44, 18), matrix)


def inside_of(source: VolumeGeometry, target: VolumeGeometry, margin: float) -> np.ndarray:
    """Which voxels of the target lie within the source, `margin` voxels from its border."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in target.shape), indexing="ij"), axis=-1)
    inverse = source.affine.inverse()
    there = target.affine.apply(index) @ inverse[:3, :3].T + inverse[:3, 3]
    return np.asarray(((there >= margin) & (there <= np.array(source.shape) - 1 - margin)).all(axis=-1))


def test_a_sheared_volume_lies_where_it_is_on_the_model_grid() -> None:
    source = sheared()
    assert not source.affine.is_orthogonal
    target = model_grid(source, (0.9, 0.9, 1.5))
    weights = (1.0, -2.0, 0.5)
    out = resample(position_image(source, weights), source, target, outside=-4000)
    inside = inside_of(source, target, 1.0)
    assert inside.sum() > 5000
    np.testing.assert_allclose(out[inside], position_image(target, weights)[inside], atol=0.02)
    assert (out[~inside_of(source, target, -1.0)] == -4000).all()


def test_the_model_grid_covers_a_sheared_volume() -> None:
    source = sheared()
    target = model_grid(source, (1.0, 1.0, 1.0))
    assert inside_of(target, source, -1.0).all()


def test_a_volume_goes_back_from_the_model_grid_to_its_sheared_slices() -> None:
    source = sheared()
    target = model_grid(source, (0.8, 0.9, 1.0))
    weights = (0.3, 1.0, -0.7)
    back = resample(position_image(target, weights), target, source)
    inside = inside_of(target, source, 1.0)
    np.testing.assert_allclose(back[inside], position_image(source, weights)[inside], atol=0.02)


def test_a_transform_and_a_shear_are_one_interpolation() -> None:
    source, target = sheared(), grid((30, 30, 30), (1.1, 1.1, 1.1), origin=(-15, 20, 42))
    c, s = np.cos(0.2), np.sin(0.2)
    transform = np.array([[c, -s, 0, 3.0], [s, c, 0, -4.0], [0, 0, 1, 2.0], [0, 0, 0, 1]])
    weights = np.array([1.0, -2.0, 0.5])
    out = resample(position_image(source, (1.0, -2.0, 0.5)), source, target, transform=transform)
    moved = geometry(source.shape, np.linalg.inv(transform) @ source.affine.matrix)
    inside = inside_of(moved, target, 1.0)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in target.shape), indexing="ij"), axis=-1)
    expected = (target.affine.apply(index) @ transform[:3, :3].T + transform[:3, 3]) @ weights
    assert inside.sum() > 3000
    np.testing.assert_allclose(out[inside], expected[inside], atol=0.03)
    np.testing.assert_allclose(out, resample(position_image(source, (1.0, -2.0, 0.5)), moved, target), atol=1e-3)


def test_the_identity_transform_copies_as_none_does() -> None:
    source = grid((6, 7, 8), (1, 1, 1))
    voxels = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    assert np.array_equal(resample(voxels, source, source, transform=np.eye(4)), voxels)


def test_the_spacing_is_turned_with_the_axes_of_the_model_grid() -> None:
    matrix = np.array([[0, 0, -2.0, 30], [-1.0, 0, 0, 10], [0, 3.0, 0, -5], [0, 0, 0, 1]])
    assert turned_spacing_mm(geometry((10, 20, 30), matrix)) == (2, 1, 3)
