"""The target spacing follows nnU-Net's rule."""

import numpy as np
import pytest

from medfuse.planning.spacing import coarser, target_spacing


def test_isotropic_studies_take_the_median_along_each_axis() -> None:
    spacings = np.array([[1.0, 1.0, 1.2], [0.8, 0.8, 1.0], [1.2, 1.0, 3.0]])

    assert target_spacing(spacings, np.full((3, 3), 128.0)) == ((1.0, 1.0, 1.2), None)


def test_a_coarse_axis_takes_its_tenth_percentile() -> None:
    steps = np.linspace(3.0, 7.0, 11)
    spacings = np.stack([np.full(11, 0.5), np.full(11, 0.5), steps], axis=1)
    shapes = np.tile([320.0, 320.0, 24.0], (11, 1))

    assert target_spacing(spacings, shapes) == ((0.5, 0.5, 3.4), 2)


def test_a_coarse_axis_gets_no_finer_than_the_others() -> None:
    spacings = np.array([[0.9, 0.9, 0.5]] * 2 + [[0.9, 0.9, 5.0]] * 8)
    shapes = np.tile([320.0, 320.0, 24.0], (10, 1))

    assert target_spacing(spacings, shapes) == ((0.9, 0.9, 0.9), 2)


def test_a_coarse_axis_that_is_long_in_voxels_is_none() -> None:
    spacings = np.array([[0.5, 0.5, 3.0]] * 4 + [[0.5, 0.5, 5.0]] * 6)

    assert target_spacing(spacings, np.tile([320.0, 320.0, 200.0], (10, 1))) == ((0.5, 0.5, 5.0), None)


def test_finer_axes_get_coarser_first() -> None:
    assert coarser((1.0, 1.0, 5.0)) == pytest.approx((1.03, 1.03, 5.0))
    assert coarser((1.0, 1.0, 1.5)) == pytest.approx((1.03, 1.03, 1.545))
