"""Rigid registration of one series onto another by mutual information, with SimpleITK.

Mattes mutual information (Mattes et al. 2003, "PET-CT image registration in the chest using free-form deformations",
IEEE Transactions on Medical Imaging 22(1)), Euler angles about the middle of the fixed image, coarse to fine. The
quality figure is normalised mutual information (Studholme et al. 1999, "An overlap invariant entropy measure of 3D
medical image alignment", Pattern Recognition 32(1)): 1 for unrelated images, 2 for one image twice.

The pyramid is made here and not by SimpleITK's shrink factors, which shrink thick slices as much as thin pixels, and
between thick slices a spline is laid: a linear interpolation half-way between slices blurs, blurring raises mutual
information, and the slices would be drawn to half a slice beside where they belong. One thread and a fixed seed: the
same input gives the same matrix.
"""

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfuse.domain.geometry import Affine, VolumeGeometry
from medfuse.domain.volume import Volume
from medfuse.preprocess.grid import model_grid, resample, turned_spacing_mm

LEVELS_MM = (6.0, 3.0, 1.5)
"""Spacing of the levels, coarse to fine."""

MOST_SAMPLES = 50_000
"""Voxels that the metric looks at, chosen at random with a fixed seed."""

MOST_RESTARTS = 6
SETTLED_GAIN = 0.002
"""The optimiser is started again from where it ended until normalised mutual information grows by less than this."""

MOST_FIGURE_VOXELS = 400_000
"""About how many places the quality figure is taken from."""

LARGEST_ROTATION_DEG = 40.0
LARGEST_SHIFT_MM = 100.0
"""How far the middle of the fixed image may come to lie from the point of the moving image that the start put there."""

LEAST_OVERLAP = 0.4
"""Share of the smaller image that has to lie in the other one."""

LEAST_GAIN = 0.003
"""By how much normalised mutual information has to grow; less may come of interpolation alone."""

_BINS = 48
_CLIP_PERCENTILES = (0.5, 99.5)
_ITERATIONS = 200
_SEED = 20

Matrix = NDArray[np.float64]
Level = tuple[NDArray[np.float32], VolumeGeometry]
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RigidMatch:
    """What a registration found.

    Args:
        matrix_lps: 4x4, from LPS mm of the fixed image's space to LPS mm of the moving image's.
        nmi_before: Normalised mutual information by geometry alone, 1 to 2; 1 where the images do not overlap.
        nmi_after: The same through the matrix.
        rotation_deg: Angle of the rotation.
        shift_mm: How far the middle of the fixed image is moved.
        refusal: Why it is not to be used; empty where it is.
    """

    matrix_lps: Matrix
    nmi_before: float
    nmi_after: float
    rotation_deg: float
    shift_mm: float
    refusal: str = ""

    @property
    def accepted(self) -> bool:
        """Whether it is to be used."""
        return not self.refusal


def register_rigid(fixed: Volume, moving: Volume) -> RigidMatch:
    """Find the rotation and shift that bring `moving` onto `fixed`.

    Args:
        fixed: The image that stays, any grid.
        moving: The image that is brought onto it, any grid, any contrast.

    Returns:
        The match with its quality; it says itself whether it is to be used.
    """
    levels = [(_level(fixed, mm), _level(moving, mm)) for mm in LEVELS_MM]
    centre = fixed.geometry.centre_mm
    start, matrix = _best_start(*levels[0], centre)
    for mm, (still, moved) in zip(LEVELS_MM[1:], levels[1:], strict=True):
        matrix = _settled(still, moved, matrix, centre, mm)
    before, _ = mutual_information(*levels[-1], np.eye(4))
    after, overlap = mutual_information(*levels[-1], matrix)
    angle = _angle_deg(matrix)
    beside_start = float(np.linalg.norm(_at(matrix, centre) - _at(start, centre)))
    return RigidMatch(
        matrix_lps=matrix,
        nmi_before=before,
        nmi_after=after,
        rotation_deg=angle,
        shift_mm=float(np.linalg.norm(_at(matrix, centre) - centre)),
        refusal=_refusal(after - before, angle, beside_start, overlap),
    )


def mutual_information(fixed: Level, moving: Level, matrix: Matrix) -> tuple[float, float]:
    """Normalised mutual information of two images through a matrix, and how much of the smaller lies in the other.

    Both are looked at half-way between the fixed image's voxels, so that no matrix is favoured for interpolating less.

    Args:
        fixed: Values and grid.
        moving: Values and grid.
        matrix: 4x4, from LPS mm of the fixed image's space to LPS mm of the moving image's.

    Returns:
        The figure, 1 to 2, and a share, 0 to 1; 1 and 0 where the images do not overlap.
    """
    values, grid = fixed
    others, other_grid = moving
    half = _half_way(grid.shape)
    to_moving = other_grid.affine.inverse() @ matrix @ grid.affine.matrix
    places = to_moving[:3, :3] @ half + to_moving[:3, 3:]
    inside = np.all((places >= 0) & (places <= np.reshape(other_grid.shape, (3, 1)) - 1), axis=0)
    volumes = grid.voxel_volume_mm3 * values.size, other_grid.voxel_volume_mm3 * others.size
    overlap = min(float(inside.mean()) * volumes[0] / min(volumes), 1.0)
    if inside.sum() < _BINS:
        return 1.0, 0.0
    ours = ndimage.map_coordinates(values, half[:, inside], order=1, mode="nearest")
    theirs = ndimage.map_coordinates(others, places[:, inside], order=1, mode="nearest")
    return _normalised(np.histogram2d(ours, theirs, bins=_BINS)[0]), overlap


def _half_way(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Indices half-way between voxels, shape `(3, N)`: all of them, or every so many of a large image."""
    step = math.ceil((math.prod(shape) / MOST_FIGURE_VOXELS) ** (1 / 3)) if math.prod(shape) > MOST_FIGURE_VOXELS else 1
    axes = [np.arange(0, max(n - 1, 1), step) + 0.5 for n in shape]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])


def _normalised(counts: NDArray[np.float64]) -> float:
    share = counts / counts.sum()
    joint = _entropy(share)
    return 1.0 if joint == 0 else (_entropy(share.sum(axis=0)) + _entropy(share.sum(axis=1))) / joint


def _entropy(share: NDArray[np.float64]) -> float:
    positive = share[share > 0]
    return float(-(positive * np.log(positive)).sum())


def _refusal(gain: float, angle_deg: float, beside_start_mm: float, overlap: float) -> str:
    if overlap < LEAST_OVERLAP:
        return f"only {overlap:.0%} of the images overlap, expected at least {LEAST_OVERLAP:.0%}"
    if angle_deg > LARGEST_ROTATION_DEG:
        return f"it turns by {angle_deg:.0f} degrees, expected at most {LARGEST_ROTATION_DEG:.0f}"
    if beside_start_mm > LARGEST_SHIFT_MM:
        return f"it shifts by {beside_start_mm:.0f} mm, expected at most {LARGEST_SHIFT_MM:.0f}"
    if gain < LEAST_GAIN:
        return "it does not improve on geometry alone"
    return ""


def _level(volume: Volume, spacing_mm: float) -> Level:
    """The image on an upright grid of about this spacing, or of its finest axis, clipped at its percentiles."""
    geometry = volume.geometry
    spacing = turned_spacing_mm(geometry)
    spacing_mm = max(spacing_mm, min(spacing))
    first, second, third = (max(spacing_mm, each) for each in spacing)
    grid = model_grid(geometry, (first, second, third))
    values = resample(volume.voxels, geometry, grid, outside=float(volume.voxels.min()))
    values, grid = _finer(values, grid, spacing_mm)
    low, high = np.percentile(values, _CLIP_PERCENTILES)
    return np.clip(values, low, high), grid


def _finer(values: NDArray[np.float32], grid: VolumeGeometry, spacing_mm: float) -> Level:
    """Lay a cubic spline through the axes that are coarser than `spacing_mm`, slices in their places."""
    times = np.maximum(np.ceil(grid.affine.spacing_mm / spacing_mm - 1e-6), 1).astype(int)
    times = np.where(np.asarray(grid.shape) > 1, times, 1)
    if (times == 1).all():
        return values, grid
    i, j, k = ((n - 1) * by + 1 for n, by in zip(grid.shape, times.tolist(), strict=True))
    scale = np.diag([*(1 / times), 1.0])
    shape = (int(i), int(j), int(k))
    finer = ndimage.zoom(values, [m / n for m, n in zip(shape, grid.shape, strict=True)], order=3, mode="nearest")
    return np.asarray(finer, dtype=np.float32), VolumeGeometry(shape=shape, affine=Affine(grid.affine.matrix @ scale))


def _best_start(fixed: Level, moving: Level, centre: NDArray[np.float64]) -> tuple[Matrix, Matrix]:
    """The start whose optimum on the coarsest level is best, and that optimum."""
    best: tuple[float, Matrix, Matrix] | None = None
    for start in _starts(fixed, moving, centre):
        found = _settled(fixed, moving, start, centre, LEVELS_MM[0])
        quality, overlap = mutual_information(fixed, moving, found)
        quality -= 0 if overlap >= LEAST_OVERLAP else 1  # a sliver of overlap can look alike by chance
        if best is None or quality > best[0]:
            best = quality, start, found
    return (np.eye(4), np.eye(4)) if best is None else best[1:]


def _starts(fixed: Level, moving: Level, centre: NDArray[np.float64]) -> list[Matrix]:
    """As the scanner says, the middles of the grids on one another, and the centres of what is bright."""
    shifts = [np.zeros(3), moving[1].centre_mm - centre, _bright(*moving) - _bright(*fixed)]
    starts = []
    for shift in shifts:
        matrix = np.eye(4)
        matrix[:3, 3] = shift
        starts.append(matrix)
    return starts


def _bright(values: NDArray[np.float32], grid: VolumeGeometry) -> NDArray[np.float64]:
    """The centre of mass of the values above their minimum, LPS mm."""
    mass = values - values.min()
    return grid.affine.apply(ndimage.center_of_mass(mass)) if mass.any() else grid.centre_mm


def _settled(fixed: Level, moving: Level, start: Matrix, centre: NDArray[np.float64], step_mm: float) -> Matrix:
    """The matrix from which the optimiser finds no better one.

    Gradient descent ends when its steps have become short, which in a narrow valley is before the optimum, and may
    leave an optimum for good: it is started again from where it ended, and what got worse is dropped.
    """
    best, quality = start, mutual_information(fixed, moving, start)[0]
    for _ in range(MOST_RESTARTS):
        found = _optimised(fixed, moving, best, centre, step_mm)
        reached, _ = mutual_information(fixed, moving, found)
        gained = reached - quality
        if gained > 0:
            best, quality = found, reached
        if gained < SETTLED_GAIN:
            break
    return best


def _optimised(fixed: Level, moving: Level, start: Matrix, centre: NDArray[np.float64], step_mm: float) -> Matrix:
    """The matrix that SimpleITK finds from `start`; `start` itself where the images do not overlap there."""
    sitk = _simple_itk()
    still, moved = _image(*fixed), _image(*moving)
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(start[:3, :3].ravel().tolist(), 1e-6)
    transform.SetTranslation((_at(start, centre) - centre).tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(1)
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, MOST_SAMPLES / still.GetNumberOfPixels()), _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step_mm,
        minStep=step_mm / 200,
        numberOfIterations=_ITERATIONS,
        relaxationFactor=0.8,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(still, moved)
    except RuntimeError as error:
        _LOG.debug("registration: %s", str(error).splitlines()[-1])
        return start
    return _matrix(transform)


def _simple_itk() -> Any:
    """SimpleITK, loaded when the first registration runs; its functions have no types."""
    import SimpleITK

    return SimpleITK


def _image(values: NDArray[np.float32], grid: VolumeGeometry) -> Any:
    sitk = _simple_itk()
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing(grid.affine.spacing_mm.tolist())
    image.SetOrigin(grid.affine.origin_mm.tolist())
    image.SetDirection(grid.affine.direction.ravel().tolist())
    return image


def _matrix(transform: Any) -> Matrix:
    """An `Euler3DTransform` as a 4x4 matrix."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    centre = np.array(transform.GetCenter())
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return matrix


def _at(matrix: Matrix, point_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(matrix[:3, :3] @ point_mm + matrix[:3, 3])


def _angle_deg(matrix: Matrix) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1))))
