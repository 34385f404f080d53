"""How well two delineations of one grid agree.

Empty masks follow Metrics Reloaded (Maier-Hein et al., Nature Methods 21, 2024, and the aggregation rules of
its library): both empty is full agreement, Dice and surface Dice 1 and distance 0; one empty is the worst value, Dice
and surface Dice 0 and the length of the grid's diagonal, so that a missed structure cannot improve a mean by being left
out of it.

Distances are between the centres of border voxels (voxels that touch the background or the edge of the
grid through a face), found by scipy's k-d tree in patient millimetres, which holds for anisotropic and for sheared
grids alike; SimpleITK's and scipy's distance transforms know spacing but no shear. The 95th percentile is taken in
each direction and the larger one counts, as in MONAI and MetricsReloaded (medpy pools both directions and differs).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import VolumeGeometry

EmptyMask = Literal["both", "prediction", "reference"]


def empty_mask(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> EmptyMask | None:
    """Which of two masks is empty; None when neither is."""
    empty = (not prediction.any(), not reference.any())
    names: dict[tuple[bool, bool], EmptyMask] = {
        (True, True): "both",
        (True, False): "prediction",
        (False, True): "reference",
    }
    return names.get(empty)


def dice(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """The Dice coefficient `2|A and B| / (|A| + |B|)` of two masks of one shape; 1 when both are empty.

    1 - `scipy.spatial.distance.dice`, which says NaN of two empty masks.
    """
    from scipy.spatial.distance import dice as dissimilarity

    _check_shapes(prediction, reference)
    if empty_mask(prediction, reference) == "both":
        return 1.0
    near = _bounding_box(prediction | reference)
    return 1.0 - float(dissimilarity(prediction[near].ravel(), reference[near].ravel()))


def hd95_mm(prediction: NDArray[np.bool_], reference: NDArray[np.bool_], geometry: VolumeGeometry) -> float:
    """The 95th percentile Hausdorff distance of two masks, in mm.

    Args:
        prediction: Shape `(I, J, K)` of the geometry.
        reference: The same shape.
        geometry: Where the voxels are; a sheared grid is measured as it lies in the patient.

    Returns:
        0 when both masks are empty, the grid's diagonal when one is.
    """
    return surface_distances(prediction, reference, geometry).hd95_mm


def surface_dice(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], geometry: VolumeGeometry, tolerance_mm: float
) -> float:
    """The normalised surface distance: the share of both borders that lies within a tolerance of the other border.

    Every border voxel counts alike, as in MONAI's `compute_surface_dice` and in Metrics Reloaded; DeepMind's
    `surface-distance` weighs them by the area of their surface and differs.

    Args:
        prediction: Shape `(I, J, K)` of the geometry.
        reference: The same shape.
        geometry: Where the voxels are.
        tolerance_mm: Distance that still counts as agreement, in mm, 0 or more.

    Returns:
        1 when both masks are empty, 0 when one is.

    Source: S. Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy", JMIR 23
    (2021).
    """
    return surface_distances(prediction, reference, geometry).surface_dice(tolerance_mm)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurfaceDistances:
    """How far each border voxel of a mask lies from the border of another mask.

    Args:
        there_mm: Of the prediction's border voxels from the reference's, mm.
        back_mm: Of the reference's from the prediction's.
        empty: Which mask was empty; then both arrays are.
        diagonal_mm: Of the grid.
    """

    there_mm: NDArray[np.float64]
    back_mm: NDArray[np.float64]
    empty: EmptyMask | None
    diagonal_mm: float

    @property
    def hd95_mm(self) -> float:
        """See `hd95_mm`."""
        if self.empty is not None:
            return 0.0 if self.empty == "both" else self.diagonal_mm
        return float(max(np.percentile(self.there_mm, 95), np.percentile(self.back_mm, 95)))

    def surface_dice(self, tolerance_mm: float) -> float:
        """See `surface_dice`."""
        if not tolerance_mm >= 0:
            raise ValueError(f"a tolerance is 0 mm or more, not {tolerance_mm}")
        if self.empty is not None:
            return 1.0 if self.empty == "both" else 0.0
        within = (self.there_mm <= tolerance_mm).sum() + (self.back_mm <= tolerance_mm).sum()
        return float(within / (self.there_mm.size + self.back_mm.size))


def surface_distances(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], geometry: VolumeGeometry
) -> SurfaceDistances:
    """The distances of the borders of two masks, from which HD95 and surface Dice are made.

    Args:
        prediction: Shape `(I, J, K)` of the geometry.
        reference: The same shape.
        geometry: Where the voxels are; a sheared grid is measured as it lies in the patient.
    """
    from scipy.spatial import KDTree

    _check_shapes(prediction, reference)
    empty, far = empty_mask(prediction, reference), diagonal_mm(geometry)
    if empty is not None:
        return SurfaceDistances(there_mm=np.empty(0), back_mm=np.empty(0), empty=empty, diagonal_mm=far)
    near = _bounding_box(prediction | reference)
    corner = np.array([axis.start for axis in near])
    borders = [geometry.affine.apply(_border_indices(mask[near]) + corner) for mask in (prediction, reference)]
    trees = [KDTree(points) for points in borders]
    there, _ = trees[1].query(borders[0])
    back, _ = trees[0].query(borders[1])
    return SurfaceDistances(there_mm=there, back_mm=back, empty=None, diagonal_mm=far)


def diagonal_mm(geometry: VolumeGeometry) -> float:
    """The largest distance between the centres of two voxels of a grid, in mm."""
    far = np.asarray(geometry.shape) - 1
    corners = geometry.affine.apply(np.stack(np.meshgrid(*[(0, n) for n in far], indexing="ij"), -1).reshape(-1, 3))
    return float(np.linalg.norm(corners[:, None] - corners[None], axis=-1).max())


def _border_indices(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    from scipy.ndimage import binary_erosion

    return np.argwhere(mask & ~binary_erosion(mask))


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    from scipy.ndimage import find_objects

    box: tuple[slice, ...] = find_objects(mask.view(np.uint8))[0]
    return box


def _check_shapes(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> None:
    if prediction.shape != reference.shape or prediction.dtype != bool or reference.dtype != bool:
        raise ValueError(
            f"two boolean masks of one shape are needed, not {prediction.dtype} {prediction.shape} "
            f"and {reference.dtype} {reference.shape}"
        )
