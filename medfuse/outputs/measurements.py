"""What is measured of each segment: volume, longest diameters, and the mean of the image inside.

A diameter is the largest distance between two points of the region's surface. The surface is that of the mesh at half
height between voxel centres, as the Image Biomarker Standardisation Initiative has it (IBSI feature L0JK): its points
are the middles of the faces of voxels, so that a single voxel is as long as its edge. They are the corners of the
convex hull of the region, each moved by half a step along each axis.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Quantity, Segment, Segmentation, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentMeasurement:
    """The measures of one segment; a segment without a voxel has a volume of 0 and nothing else.

    Args:
        number: Its value in the label map.
        name: Its name.
        volume_mm3: Voxel count times the volume of a voxel.
        axial_diameter_mm: Longest diameter in one slice of the grid plane that is closest to axial.
        diameter_mm: Longest diameter in three dimensions.
        mean: Mean of the source image inside, in `quantity`; None without an image on the label map's grid.
        quantity: Unit of `mean`.
        key_slice: The slice `k` of the source grid with most of its voxels; None for an empty segment.
    """

    number: int
    name: str
    volume_mm3: float
    axial_diameter_mm: float | None = None
    diameter_mm: float | None = None
    mean: float | None = None
    quantity: Quantity | None = None
    key_slice: int | None = None


def measure(segmentation: Segmentation, volume: Volume | None = None) -> tuple[SegmentMeasurement, ...]:
    """Measure every segment of a label map, in order.

    Args:
        segmentation: The label map.
        volume: The image that it lies on; one on another grid gives no means.
    """
    boxes = _boxes(segmentation)
    on_grid = volume is not None and volume.geometry.is_close(segmentation.geometry)
    measured = []
    for segment in segmentation.segments:
        box = boxes.get(segment.number)
        if box is None:
            measured.append(SegmentMeasurement(number=segment.number, name=segment.name, volume_mm3=0.0))
            continue
        mask = mask_in(segmentation, segment, box)
        inside = volume.voxels[box][mask] if volume is not None and on_grid else None
        measured.append(
            SegmentMeasurement(
                number=segment.number,
                name=segment.name,
                volume_mm3=int(np.count_nonzero(mask)) * segmentation.geometry.voxel_volume_mm3,
                axial_diameter_mm=_axial_diameter_mm(mask, segmentation.geometry.affine.matrix),
                diameter_mm=_diameter_mm(mask, segmentation.geometry.affine.matrix[:3, :3]),
                mean=None if inside is None else float(inside.mean(dtype=np.float64)),
                quantity=volume.quantity if volume is not None and on_grid else None,
                key_slice=box[2].start + int(np.argmax(np.count_nonzero(mask, axis=(0, 1)))),
            )
        )
    return tuple(measured)


def mask_in(segmentation: Segmentation, segment: Segment, box: tuple[slice, ...]) -> NDArray[np.bool_]:
    """Where a segment is within a box of the grid, overlaps included."""
    if segmentation.overlaps is None:
        return np.asarray(segmentation.label_map[box] == segment.number)
    return np.asarray((segmentation.overlaps[box] >> (segment.number - 1)) & 1 == 1)


def _boxes(segmentation: Segmentation) -> dict[int, tuple[slice, slice, slice]]:
    """Number -> the smallest box of the grid that holds the segment; empty segments have none."""
    from scipy.ndimage import find_objects

    if segmentation.overlaps is None:
        found = find_objects(segmentation.label_map)
        return {number: box for number, box in enumerate(found, start=1) if box is not None}
    boxes = {}
    for segment in segmentation.segments:
        box = find_objects(segmentation.mask(segment).view(np.uint8))
        if box:
            boxes[segment.number] = box[0]
    return boxes


def axial_axis(matrix: NDArray[np.float64]) -> int:
    """The index axis that runs closest to the patient's long axis: slices across it are the most axial of the grid."""
    steps = matrix[:3, :3]
    return int(np.argmax(np.abs(steps[2]) / np.linalg.norm(steps, axis=0)))


def _axial_diameter_mm(mask: NDArray[np.bool_], matrix: NDArray[np.float64]) -> float:
    axis = axial_axis(matrix)
    steps = np.delete(matrix[:3, :3], axis, axis=1)
    slices = np.moveaxis(mask, axis, 0)
    return max(_diameter_mm(plane, steps) for plane in slices if plane.any())


def _diameter_mm(mask: NDArray[np.bool_], steps: NDArray[np.float64]) -> float:
    """The longest diameter of a region of two or three axes, `steps` being their steps in mm, as columns."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    halves = 0.5 * np.eye(mask.ndim)
    points = (_ends(mask)[:, None, :] + np.concatenate([halves, -halves])).reshape(-1, mask.ndim)
    corners = points[ConvexHull(points).vertices]
    return float(pdist(corners @ steps.T).max())


def _ends(mask: NDArray[np.bool_]) -> NDArray[Any]:
    """The first and the last voxel of each line along the last axis: the convex hull has no other corners."""
    lines = np.argwhere(mask.any(axis=-1))
    along = mask[tuple(lines.T)]
    first, last = along.argmax(axis=-1), mask.shape[-1] - 1 - along[:, ::-1].argmax(axis=-1)
    return np.concatenate([np.column_stack([lines, first]), np.column_stack([lines, last])])
