"""Linear resampling one axis after the other, for grids whose axes run along each other.

Smoothing and interpolation along an axis are one weighted sum of a few voxels, so a volume is read once an axis, and it
shrinks from axis to axis. The numbers are those of smoothing first and `grid_sample` then, within float32's rounding.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TRUNCATE = 3.0
"""Deviations at which the Gaussian is cut off."""

OFF_AXIS = 1e-5
"""Voxels by which a target axis may leave the source axis that it runs along."""

VOXELS_A_STEP = 1 << 21


class Taps(NamedTuple):
    """Which voxels of a source axis make each voxel of a target axis.

    Attributes:
        voxel: Shape `(taps, n)`.
        weight: Shape `(taps, n)`; adds up to 1 inside the source and to 0 beyond.
    """

    voxel: NDArray[np.int64]
    weight: NDArray[np.float32]


def axes_alike(to_source: NDArray[np.float64], shape: tuple[int, ...]) -> list[int] | None:
    """The source axis along which each target axis runs; None where one leaves it.

    Args:
        to_source: From target indices to source indices, 4x4.
        shape: Of the target.
    """
    matrix = to_source[:3, :3]
    order = [int(axis) for axis in np.abs(matrix).argmax(axis=0)]
    off = np.abs(matrix)
    off[order, range(3)] = 0
    alike = sorted(order) == [0, 1, 2] and (off @ np.array(shape)).max() < OFF_AXIS
    return order if alike else None


def resample_by_axes(
    voxels: NDArray[Any],
    to_source: NDArray[np.float64],
    shape: tuple[int, ...],
    sigma: NDArray[np.float64],
    outside: float,
) -> NDArray[np.float32] | None:
    """Smoothed and linearly interpolated values, float32 of the target's shape; None where axes do not run alike.

    Args:
        voxels: Shape `(I, J, K)`, any real kind of number.
        to_source: From target indices to source indices, 4x4.
        shape: Of the target.
        sigma: Deviation of the Gaussian along each source axis, in voxels; 0 for none.
        outside: Value beyond the source.
    """
    import torch

    order = axes_alike(to_source, shape)
    if order is None:
        return None
    values = torch.from_numpy(np.array(voxels) if not voxels.flags.writeable else voxels)
    shift = outside
    for axis in sorted(range(3), key=lambda axis: shape[order.index(axis)] / voxels.shape[axis]):
        target_axis = order.index(axis)
        line = to_source[axis, 3] + to_source[axis, target_axis] * np.arange(shape[target_axis])
        values = _along(values, axis, taps_of(line, voxels.shape[axis], float(sigma[axis])), shift)
        shift = 0.0
    if outside:
        values += outside
    return np.ascontiguousarray(values.permute(order).numpy())


def taps_of(at: NDArray[np.float64], length: int, sigma: float) -> Taps:
    """The taps of positions on an axis.

    Args:
        at: In voxels of the source.
        length: Of the source.
        sigma: Deviation of the Gaussian that goes before; its edge voxels stand for what lies beyond.
    """
    reach = int(TRUNCATE * sigma + 0.5) if sigma else 0
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2) if sigma else np.ones(1)
    kernel = np.concatenate([[0.0], kernel / kernel.sum(), [0.0]])
    low = np.floor(at).astype(np.int64)
    share = at - low
    lower = np.where((low >= 0) & (low < length), 1 - share, 0.0)
    upper = np.where((low >= -1) & (low < length - 1), share, 0.0)
    offsets = np.arange(-reach, reach + 2)
    weight = np.stack([lower * kernel[o + reach + 1] + upper * kernel[o + reach] for o in offsets])
    index = np.clip(low + offsets[:, None], 0, length - 1)
    used = np.asarray(weight.any(axis=1))
    used[reach] = True
    return Taps(index[used], weight[used].astype(np.float32))


def _along(values: Any, axis: int, taps: Taps, shift: float) -> Any:
    """The weighted sums along one axis, `shift` taken off the values before."""
    import torch

    shape = list(values.shape)
    shape[axis] = taps.voxel.shape[1]
    result = torch.empty(shape, dtype=torch.float32)
    across = 1 if axis == 0 else 0
    step = max(1, VOXELS_A_STEP * shape[across] // max(1, int(np.prod(shape))))
    view = [1, 1, 1]
    view[axis] = -1
    weights = [torch.from_numpy(weight).reshape(view) for weight in taps.weight]
    indices = [torch.from_numpy(index) for index in taps.voxel]
    for first in range(0, shape[across], step):
        rows = values.narrow(across, first, min(step, shape[across] - first)).to(torch.float32)
        if shift:
            rows = rows - shift
        part = result.narrow(across, first, rows.shape[across])
        torch.mul(rows.index_select(axis, indices[0]), weights[0], out=part)
        for index, weight in zip(indices[1:], weights[1:], strict=True):
            part.addcmul_(rows.index_select(axis, index), weight)
    return result
