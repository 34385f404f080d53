"""The shape of a network: where it reduces which axis, by nnU-Net's rule."""

from dataclasses import dataclass
from math import ceil

from medfuse.planning.fingerprint import Shape, Triple

FEWEST_CELLS = 4
"""Cells that the coarsest map keeps along an axis."""
MOST_STAGES = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A network's stages.

    Args:
        size: Shape of the input; a multiple of `divisor`.
        strides: Reduction of each stage along each axis; the first is 1.
        kernels: Kernel of each stage along each axis, 1 or 3.
    """

    size: Shape
    strides: tuple[Shape, ...]
    kernels: tuple[Shape, ...]

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.strides)

    @property
    def divisor(self) -> Shape:
        """The coarsest map's stride."""
        total = [1, 1, 1]
        for stride in self.strides:
            total = [a * b for a, b in zip(total, stride, strict=True)]
        return total[0], total[1], total[2]

    @property
    def is_plain(self) -> bool:
        """Whether every stage halves every axis with kernels of 3."""
        return all(stride == (2, 2, 2) for stride in self.strides[1:]) and all(k == (3, 3, 3) for k in self.kernels)


def topology(spacing_mm: Triple, shape: Shape) -> Topology:
    """The stages for inputs of about `shape`, which is padded to a multiple of the coarsest stride.

    An axis is halved while half of it still has 4 cells and it is not twice as coarse as the finest axis that can be
    halved; its kernels are 3 from the stage on where it is not twice as coarse as the finest axis, and 1
    before, as along an axis of one voxel.

    Args:
        spacing_mm: Spacing of the model grid.
        shape: Voxels along each axis.

    Source: Isensee et al. 2021, supplementary note 2 (network topology).
    """
    spacing, size = list(spacing_mm), [max(1, n) for n in shape]
    if max(size) < 2 * FEWEST_CELLS:  # smaller than any network: padded, so that there are two stages
        size[size.index(max(size))] = 2 * FEWEST_CELLS
    given = tuple(size)
    strides, kernels, kernel = [(1, 1, 1)], [], [1, 1, 1]
    while len(strides) < MOST_STAGES:
        halved = _axes_to_halve(spacing, size, is_first=len(strides) == 1)
        if not halved:
            break
        kernel = _kernel(kernel, spacing, size)
        kernels.append((kernel[0], kernel[1], kernel[2]))
        step = [2 if axis in halved else 1 for axis in range(3)]
        spacing = [value * factor for value, factor in zip(spacing, step, strict=True)]
        size = [ceil(n / factor) for n, factor in zip(size, step, strict=True)]
        strides.append((step[0], step[1], step[2]))
    kernels.append((_wide(given[0]), _wide(given[1]), _wide(given[2])))
    made = Topology(size=(1, 1, 1), strides=tuple(strides), kernels=tuple(kernels))
    i, j, k = (ceil(n / step) * step for n, step in zip(given, made.divisor, strict=True))
    return Topology(size=(i, j, k), strides=made.strides, kernels=made.kernels)


def _axes_to_halve(spacing: list[float], size: list[int], *, is_first: bool) -> list[int]:
    long = [axis for axis in range(3) if size[axis] >= 2 * FEWEST_CELLS]
    if not long:
        return []
    finest = min(spacing[axis] for axis in long)
    axes = [axis for axis in long if spacing[axis] / finest < 2]
    if len(axes) == 1 and not is_first and size[axes[0]] < 3 * FEWEST_CELLS:
        return []  # one axis alone is worth a stage only where more is left of it (nnU-Net's exception)
    return axes


def _kernel(kernel: list[int], spacing: list[float], size: list[int]) -> list[int]:
    finest = min(value for value, n in zip(spacing, size, strict=True) if n > 1)
    return [
        3 if wide == 3 or (n > 1 and value / finest < 2) else 1
        for wide, value, n in zip(kernel, spacing, size, strict=True)
    ]


def _wide(n: int) -> int:
    """The kernel of the coarsest stage along an axis: 3, but for a single slice."""
    return 3 if n > 1 else 1
