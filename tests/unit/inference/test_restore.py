import numpy as np
import pytest

from medfuse.domain import Affine, LabelSet, VolumeGeometry
from medfuse.inference.restore import restore
from medfuse.preprocess.grid import model_grid, resample

LABELS = LabelSet(segments=("a", "b"))


@pytest.mark.parametrize("lean", [0.0, 0.3])
def test_a_label_map_survives_the_way_to_the_model_grid_and_back(lean: float) -> None:
    matrix = np.array([[0, 0, 2.0, 5], [-0.8, 0, 0, 3], [0, -0.8, lean * 2.0, 9], [0, 0, 0, 1]])
    source = VolumeGeometry(shape=(40, 44, 16), affine=Affine(matrix))
    i, j, k = np.indices(source.shape)
    truth = ((i - 20) ** 2 + (j - 20) ** 2 + (2.5 * (k - 8)) ** 2 < 15**2).astype(np.uint8)
    truth[(truth == 1) & (j > 22)] = 2
    grid = model_grid(source, (1.0, 1.0, 1.0))
    one_hot = np.stack(
        [resample((truth == c).astype(np.float32), source, grid, outside=float(c == 0)) for c in range(3)]
    )
    back = restore(one_hot, grid, source, LABELS)
    assert back.geometry is source
    for number in (1, 2):
        a, b = back.label_map == number, truth == number
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.95


def test_beyond_the_model_grid_is_background() -> None:
    grid = VolumeGeometry(shape=(4, 4, 4), affine=Affine(np.eye(4)))
    source = VolumeGeometry(shape=(10, 4, 4), affine=Affine(np.eye(4)))
    probabilities = np.zeros((3, 4, 4, 4), dtype=np.float32)
    probabilities[1] = 1
    label_map = restore(probabilities, grid, source, LABELS).label_map
    assert (label_map[:4] == 1).all()
    assert not label_map[4:].any()
