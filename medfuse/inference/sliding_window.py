"""Windows over a study that is larger than the network's input, and their answers brought together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Item = TypeVar("Item")
Index = tuple[int, int, int]

OVERLAP = 0.5
"""Share of a window that its neighbour covers too."""


def window_starts(shape: Index, size: Index) -> list[Index]:
    """First voxels of the windows that cover a grid, in C order.

    Along an axis that fits into the window there is one, centred, with padding; else they overlap by `OVERLAP` or a
    little more and end flush with the grid.
    """
    return [(i, j, k) for i, j, k in product(*(_starts(n, m) for n, m in zip(shape, size, strict=True)))]


def _starts(n: int, m: int) -> list[int]:
    if n <= m:
        return [(n - m) // 2]
    steps = int(np.ceil((n - m) / (m * (1 - OVERLAP))))
    return [round(step * (n - m) / steps) for step in range(steps + 1)]


@dataclass(slots=True, eq=False)
class Blend:
    """A weighted mean of windows' class probabilities over a grid; windows weigh most at their centre (Gaussian).

    It holds a float for every class and voxel; `medfuse.inference.ranked.RankedBlend` does not.

    Args:
        total: Weighted sum, shape `(S1, I, J, K)`.
        weight: Sum of weights, shape `(I, J, K)`.
    """

    total: NDArray[np.float32]
    weight: NDArray[np.float32]

    @classmethod
    def over(cls, classes: int, shape: Index) -> "Blend":
        """An empty blend."""
        return cls(np.zeros((classes, *shape), dtype=np.float32), np.zeros(shape, dtype=np.float32))

    def add(self, probabilities: Tensor, start: Index) -> None:
        """Add a window's probabilities, shape `(S1, *size)`; what lies beyond the grid is dropped."""
        importance = gaussian_importance(probabilities.shape[1:])
        inner, outer = [], []
        for begin, length, limit in zip(start, probabilities.shape[1:], self.weight.shape, strict=True):
            low, high = max(begin, 0), min(begin + length, limit)
            outer.append(slice(low, high))
            inner.append(slice(low - begin, high - begin))
        weights = importance[tuple(inner)]
        total = torch.from_numpy(self.total)[(slice(None), *outer)]
        total.addcmul_(probabilities[(slice(None), *inner)].float(), weights)
        torch.from_numpy(self.weight)[tuple(outer)] += weights

    def mean(self) -> NDArray[np.float32]:
        """The blended probabilities, shape `(S1, I, J, K)`, in the memory of the sum; nothing can be added then."""
        np.divide(self.total, self.weight, out=self.total)
        self.weight.fill(1)
        return self.total


def gaussian_importance(size: Sequence[int]) -> Tensor:
    """How much each voxel of a window counts: a Gaussian with a quarter of the window as deviation, at least 0.001.

    Source: Isensee et al. 2021, "nnU-Net", whose windows are weighted by a Gaussian too.
    """
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 4)) ** 2) for n in size]
    weights = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return torch.from_numpy(np.asarray(np.maximum(weights, 1e-3), dtype=np.float32))


def batched(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def merge_findings(logits: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The findings of a study from its windows: the highest logit of any, for a finding in one place is a finding.

    Args:
        logits: One `(F,)` a window.

    Returns:
        The logits `(F,)`, and the window `(F,)` that each came from.
    """
    highest = torch.stack(list(logits)).max(dim=0)
    return highest.values, highest.indices
