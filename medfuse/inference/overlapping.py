"""Segments that overlap, from the model grid to the source grid."""

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.geometry import VolumeGeometry
from medfuse.domain.labels import LabelSet
from medfuse.domain.segmentation import Segment, Segmentation
from medfuse.preprocess.grid import resample

THRESHOLD = 0.5
"""A voxel belongs to every segment of at least this probability; as in nnU-Net's region-based inference."""


def restore_overlapping(
    probabilities: NDArray[np.float32], grid: VolumeGeometry, source: VolumeGeometry, label_set: LabelSet
) -> Segmentation:
    """Each segment that a source voxel belongs to; outside the model grid there is none.

    Segment by segment, so that memory holds one volume of floats beside the probabilities.

    Args:
        probabilities: Of each segment, shape `(S, I, J, K)` on `grid`, without a background.
        grid: The model grid.
        source: The grid to answer on.
        label_set: Names the segments.

    Source: Isensee et al., nnU-Net's documentation, "Region-based training".
    """
    overlaps = np.zeros(source.shape, dtype=np.uint8)
    for position, each in enumerate(probabilities):
        inside = resample(each, grid, source, outside=0.0) >= THRESHOLD
        overlaps |= inside.astype(np.uint8) << position
    segments = tuple(Segment(number=n, name=name) for n, name in enumerate(label_set.segments, start=1))
    return Segmentation.overlapping(overlaps, source, segments)
