import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medfuse.domain import Affine, LabelSet, VolumeGeometry
from medfuse.inference.ranked import RankedScores
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


def test_every_class_interpolated_at_every_voxel_gives_the_same_label_map() -> None:
    for spacing, lean in (((1.3, 1.1, 2.0), 0.0), ((0.7, 0.9, 1.0), 0.2), ((2.0, 2.0, 2.0), 0.0)):
        probabilities, grid, source = _random_scores(spacing, lean)
        mine = restore(probabilities, grid, source, LABELS).label_map
        expected = _interpolated_everywhere(probabilities, grid, source)
        assert (mine != expected).mean() < 1e-4  # ties in float32
        assert len(np.unique(mine)) == 3


def test_the_highest_classes_alone_give_the_same_label_map() -> None:
    probabilities, grid, source = _random_scores((1.3, 1.1, 2.0), 0.2)
    ranked = RankedScores.empty(3, grid.shape)
    ranked.put((slice(None),) * 3, torch.from_numpy(probabilities.copy()))
    mine, whole = (restore(scores, grid, source, LABELS).label_map for scores in (ranked, probabilities))
    assert (mine != whole).mean() < 1e-3  # half precision


def test_a_source_coarser_than_the_model_grid_is_smoothed_first() -> None:
    probabilities, grid, source = _random_scores((0.4, 0.4, 0.4), 0.0)
    ranked = RankedScores.empty(3, grid.shape)
    ranked.put((slice(None),) * 3, torch.from_numpy(probabilities.copy()))
    expected = _interpolated_everywhere(probabilities, grid, source)
    assert (restore(probabilities, grid, source, LABELS).label_map == expected).all()
    assert (restore(ranked, grid, source, LABELS).label_map != expected).mean() < 1e-3


def test_as_many_classes_as_segments_and_the_background_are_expected() -> None:
    probabilities, grid, source = _random_scores((1.0, 1.0, 1.0), 0.0)
    with pytest.raises(ValueError, match="2 classes for 2 segments"):
        restore(probabilities[:2], grid, source, LABELS)


def _random_scores(
    spacing: tuple[float, float, float], lean: float
) -> tuple[NDArray[np.float32], VolumeGeometry, VolumeGeometry]:
    matrix = np.array([[0, 0, 1.2, 5], [-0.8, 0, 0, 3], [0, -0.8, lean, 9], [0, 0, 0, 1]])
    source = VolumeGeometry(shape=(40, 44, 26), affine=Affine(matrix))
    grid = model_grid(source, spacing)
    noise = np.random.default_rng(0).normal(size=(3, *grid.shape))
    logits = np.stack([ndimage.gaussian_filter(one, 2) * 40 for one in noise])
    scores = torch.from_numpy(logits.astype(np.float32)).softmax(dim=0).numpy()
    return scores, grid, source


def _interpolated_everywhere(
    probabilities: NDArray[np.float32], grid: VolumeGeometry, source: VolumeGeometry
) -> NDArray[np.uint8]:
    everywhere = [resample(one, grid, source, outside=float(c == 0)) for c, one in enumerate(probabilities)]
    return np.stack(everywhere).argmax(axis=0).astype(np.uint8)
