"""The spacing of the model grid, by nnU-Net's rule."""

import numpy as np
from numpy.typing import NDArray

from medfuse.planning.fingerprint import Triple

ANISOTROPY = 3.0
"""An axis that is so many times coarser than the others, and so many times shorter in voxels, is a coarse axis."""
COARSE_PERCENTILE = 10.0
"""Percentile of the coarse axis' spacings that becomes its spacing."""
COARSER = 1.03
"""How much coarser a grid gets in one step, on the way to one that fits."""


def target_spacing(spacings_mm: NDArray[np.float64], shapes: NDArray[np.float64]) -> tuple[Triple, int | None]:
    """The spacing that studies are resampled to, and the axis that is coarse, if one is.

    The median along each axis; along a coarse one the 10th percentile, but no finer than the others, so that most
    studies are interpolated less than they would be at the median.

    Args:
        spacings_mm: Shape `(studies, 3)`.
        shapes: Shape `(studies, 3)`.

    Source: Isensee et al. 2021, supplementary note 2 (fingerprint and target spacing).
    """
    target = np.median(spacings_mm, axis=0)
    size = np.median(shapes * spacings_mm, axis=0) / target
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    coarse = target[worst] > ANISOTROPY * target[others].max() and size[worst] * ANISOTROPY < size[others].min()
    if coarse:
        target[worst] = max(np.percentile(spacings_mm[:, worst], COARSE_PERCENTILE), target[others].max())
    return rounded(target), worst if coarse else None


def coarser(spacing_mm: Triple) -> Triple:
    """The next coarser spacing: finer axes follow a coarse one first, as in nnU-Net's low-resolution plan."""
    values = np.asarray(spacing_mm)
    finer = values.max() / values > 2
    values = np.where(finer | ~finer.any(), values * COARSER, values)
    first, second, third = values.tolist()
    return first, second, third


def rounded(spacing_mm: NDArray[np.float64] | Triple) -> Triple:
    """To three digits, which no voxel notices."""
    first, second, third = (float(f"{float(value):.3g}") for value in spacing_mm)
    return first, second, third
