import numpy as np
import pytest

from medfuse.preprocess import grid
from medfuse.preprocess.separable import axes_alike, resample_by_axes, taps_of

SHAPE = (14, 17, 11)


def matrix(scale: tuple[float, float, float], shift: tuple[float, float, float], order: list[int]) -> np.ndarray:
    """From target to source: target axis `d` runs along source axis `order[d]`."""
    to_source = np.eye(4)
    to_source[:3, :3] = 0
    for target_axis, source_axis in enumerate(order):
        to_source[source_axis, target_axis] = scale[target_axis]
    to_source[:3, 3] = shift
    return to_source


@pytest.mark.parametrize("kind", [np.float32, np.int16])
@pytest.mark.parametrize("outside", [0.0, -1000.0])
@pytest.mark.parametrize(
    ("scale", "shift", "order", "shape"),
    [
        ((1.7, 2.3, 1.0), (0.2, -0.4, 0.0), [0, 1, 2], (8, 8, 11)),
        ((-1.9, 0.6, 2.5), (5.0, 16.0, 0.3), [1, 2, 0], (9, 20, 6)),
        ((0.5, 0.5, 0.5), (-2.0, -3.0, -1.0), [2, 0, 1], (30, 40, 40)),
    ],
)
def test_the_numbers_are_those_of_smoothing_and_grid_sample(
    kind: type, outside: float, scale: tuple, shift: tuple, order: list[int], shape: tuple
) -> None:
    voxels = np.random.default_rng(0).normal(0, 300, SHAPE).astype(kind)
    to_source = matrix(scale, shift, order)
    sigma = grid._smoothing(to_source)
    found = resample_by_axes(voxels, to_source, shape, sigma, outside)
    expected = grid._sample(grid._smoothed(voxels, to_source), to_source, shape, "linear", outside)
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.05)  # of 300: grid_sample's own coordinates are float32


def test_axes_that_do_not_run_alike_are_left_to_others() -> None:
    tilted = matrix((1.0, 1.0, 1.0), (0, 0, 0), [0, 1, 2])
    tilted[0, 1] = 0.01
    assert axes_alike(tilted, SHAPE) is None
    assert resample_by_axes(np.zeros(SHAPE), tilted, SHAPE, np.zeros(3), 0.0) is None
    assert axes_alike(matrix((1.0, -2.0, 1.0), (0, 0, 0), [2, 0, 1]), SHAPE) == [2, 0, 1]


def test_the_weights_of_a_position_add_up_to_one_inside_and_to_nothing_far_outside() -> None:
    taps = taps_of(np.array([-3.0, -0.25, 0.0, 4.5, 9.0, 9.75, 12.0]), 10, 0.7)
    np.testing.assert_allclose(taps.weight.sum(axis=0), [0, 0.75, 1, 1, 1, 0.25, 0], atol=1e-6)
    assert taps.voxel.min() >= 0
    assert taps.voxel.max() <= 9


def test_read_only_voxels_are_read() -> None:
    voxels = np.ones(SHAPE, dtype=np.int16)
    voxels.setflags(write=False)
    found = resample_by_axes(voxels, matrix((2.0, 2.0, 2.0), (0, 0, 0), [0, 1, 2]), (7, 8, 5), np.full(3, 0.5), 0.0)
    assert found is not None
    np.testing.assert_allclose(found, 1, atol=1e-6)
