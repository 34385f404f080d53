"""The slice shown at once: which one, how it lies, and its grey values."""

import io
from itertools import permutations, product

import numpy as np
import pytest
from PIL import Image

from apps.viewer.first_slice import first_slice
from medfuse.review import Window

WINDOW = Window(name="made", level=50, width=100)
SPACING = np.array([1.0, 2.0, 5.0])


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_it_is_radiological_in_every_orientation_of_the_array(order, signs):
    ras = np.full((4, 6, 5), 50.0)  # right, anterior, superior
    ras[3, :, 2] = 100  # the patient's right, in the middle slice
    ras[0, 5, 2] = 0  # left and anterior
    voxels, affine = np.transpose(ras, order), np.eye(4)
    affine[:3, :3] = 0
    for axis, towards in enumerate(order):
        affine[towards, axis] = signs[towards] * SPACING[towards]
        if signs[towards] < 0:
            voxels = np.flip(voxels, axis=axis)
    first = first_slice(voxels, affine, WINDOW)
    grey = np.asarray(Image.open(io.BytesIO(first.png)))
    assert (first.number, first.count) == (3, 5)
    assert first.size_mm == (4 * SPACING[0], 6 * SPACING[1])
    assert grey.shape == (6, 4)
    assert (grey[:, 0] == 255).all()
    assert grey[0, 3] == 0
    assert grey[5, 3] == 127
