import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import f1_score

from medfuse.domain import Affine, VolumeGeometry
from medfuse.metrics import dice, empty_mask, hd95_mm
from medfuse.metrics.segmentation import diagonal_mm

SHAPE = (7, 8, 6)


def geometry(shape: tuple[int, int, int] = SHAPE, *, spacing: tuple[float, ...] = (1, 1, 1)) -> VolumeGeometry:
    return VolumeGeometry(shape=shape, affine=Affine(np.diag([*spacing, 1.0])))


def oblique_and_sheared() -> VolumeGeometry:
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([0.7, 0.7, 5.0])
    matrix[:3, 2] += [0.0, 1.8, 0.0]  # a gantry tilt
    matrix[:3, 3] = [-100, 40, 7]
    grid = VolumeGeometry(shape=SHAPE, affine=Affine(matrix))
    assert not grid.affine.is_orthogonal
    return grid


def blob(rng: np.random.Generator, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    low = [rng.integers(0, n - 2) for n in shape]
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, rng.integers(a + 1, n + 1)) for a, n in zip(low, shape, strict=True))] = True
    return mask & (rng.random(shape) < 0.9)


def brute_force_hd95(a: np.ndarray, b: np.ndarray, grid: VolumeGeometry) -> float:
    """Border voxels found by looking at the six neighbours one by one; distances of all pairs."""

    def border(mask: np.ndarray) -> np.ndarray:
        found = []
        for index in np.argwhere(mask):
            for step in (*np.eye(3, dtype=int), *-np.eye(3, dtype=int)):
                near = index + step
                if (near < 0).any() or (near >= mask.shape).any() or not mask[tuple(near)]:
                    found.append(index)
                    break
        return grid.affine.apply(np.array(found))

    distances = cdist(border(a), border(b))
    return float(max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95)))


def test_dice_by_hand_on_a_three_cube() -> None:
    prediction, reference = np.zeros((2, 3, 3, 3), bool)
    prediction[0, 0, :3] = True  # three voxels
    reference[0, 0, 1:] = True
    reference[1, 1, 1] = True  # three voxels, two of them shared
    reference[2, 2, 2] = True  # four
    assert dice(prediction, reference) == pytest.approx(2 * 2 / (3 + 4))


@pytest.mark.parametrize("seed", range(8))
def test_dice_is_the_f1_score_of_voxels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = blob(rng), blob(rng)
    assert dice(a, b) == pytest.approx(f1_score(b.ravel(), a.ravel(), zero_division=0.0), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("grid", [geometry(), geometry(spacing=(0.5, 0.7, 4.0)), oblique_and_sheared()])
def test_hd95_against_brute_force(seed: int, grid: VolumeGeometry) -> None:
    rng = np.random.default_rng(seed)
    a, b = blob(rng), blob(rng)
    a[0, 0, 0] = b[-1, -1, -1] = True
    assert hd95_mm(a, b, grid) == pytest.approx(brute_force_hd95(a, b, grid), abs=1e-9)
    assert hd95_mm(b, a, grid) == pytest.approx(hd95_mm(a, b, grid))


def test_hd95_of_a_shift_is_the_shift_in_millimetres() -> None:
    a, b = np.zeros((2, 12, 12, 12), bool)
    a[2:6, 2:6, 2:6] = True
    b[2:6, 2:6, 4:8] = True
    assert hd95_mm(a, b, geometry(a.shape, spacing=(1, 1, 2.5))) == pytest.approx(5.0)
    assert hd95_mm(a, a, geometry(a.shape)) == 0


def test_hd95_leaves_out_a_stray_voxel_and_takes_the_worse_direction() -> None:
    reference = np.zeros((30, 9, 9), bool)
    reference[2:7, 2:7, 2:7] = True  # 98 border voxels
    prediction = reference.copy()
    prediction[29, 8, 8] = True  # one of 99: beyond the 95th percentile
    assert hd95_mm(prediction, reference, geometry(reference.shape)) == 0
    prediction[20:27, 8, 8] = True  # eight of 106: within it
    assert hd95_mm(prediction, reference, geometry(reference.shape)) > 10


def test_empty_masks_follow_metrics_reloaded() -> None:
    nothing, something = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    something[1, 1, 1] = True
    grid = geometry(spacing=(1, 2, 3))
    assert (dice(nothing, nothing), hd95_mm(nothing, nothing, grid)) == (1.0, 0.0)
    assert empty_mask(nothing, nothing) == "both"
    diagonal = float(np.linalg.norm([6 * 1, 7 * 2, 5 * 3]))
    for pair, which in (((nothing, something), "prediction"), ((something, nothing), "reference")):
        assert dice(*pair) == 0.0
        assert hd95_mm(*pair, grid) == pytest.approx(diagonal)
        assert empty_mask(*pair) == which
    assert empty_mask(something, something) is None


def test_the_diagonal_of_a_sheared_grid_is_its_longest() -> None:
    grid = oblique_and_sheared()
    corners = grid.affine.apply([(i, j, k) for i in (0, 6) for j in (0, 7) for k in (0, 5)])
    assert diagonal_mm(grid) == pytest.approx(cdist(corners, corners).max())


def test_one_voxel_grids() -> None:
    one = np.ones((1, 1, 1), bool)
    assert dice(one, one) == 1
    assert hd95_mm(one, one, geometry((1, 1, 1))) == 0


def test_two_shapes_or_label_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="masks"):
        dice(np.ones((2, 2, 2), bool), np.ones((2, 2, 1), bool))
    with pytest.raises(ValueError, match="masks"):
        hd95_mm(np.ones(SHAPE, np.uint8), np.ones(SHAPE, bool), geometry())
