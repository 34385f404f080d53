"""From class probabilities on the model grid to a label map on the source grid."""

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.geometry import VolumeGeometry
from medfuse.domain.labels import LabelSet
from medfuse.domain.segmentation import Segment, Segmentation
from medfuse.preprocess.grid import resample


def restore(
    probabilities: NDArray[np.float32], grid: VolumeGeometry, source: VolumeGeometry, label_set: LabelSet
) -> Segmentation:
    """The most probable class of each source voxel.

    Class by class, so that memory holds two volumes of floats and never one a class. A source voxel outside the
    model grid is background.

    Args:
        probabilities: Shape `(S1, I, J, K)` on `grid`, background first.
        grid: The model grid.
        source: The grid to answer on.
        label_set: Names the segments.
    """
    best = resample(probabilities[0], grid, source, outside=1.0)
    label_map = np.zeros(source.shape, dtype=np.uint8)
    for number in range(1, len(probabilities)):
        candidate = resample(probabilities[number], grid, source, outside=0.0)
        better = candidate > best
        label_map[better] = number
        np.maximum(best, candidate, out=best)
    segments = tuple(Segment(number=n, name=name) for n, name in enumerate(label_set.segments, start=1))
    return Segmentation(label_map=label_map, geometry=source, segments=segments)
