"""Where the training blocks of studies lie that are larger than the network's input.

A study that fits lies centred, padded, as in scoring. Of a larger one each epoch takes another block: at random, or
for a share of them around a voxel of a segment, so that small segments are met often enough.

What a block that does not show the whole study teaches about findings: a study's answer is the highest of its windows'
(see `medfuse.inference.sliding_window`), so an absent finding is absent from every block, while a present one need not
be seen in each. With `findings: shown`, a present finding therefore counts in blocks that hold a voxel of a segment,
and in all blocks of a study whose segments nobody delineated, which cannot be told apart. With `always`, every block
answers for its study, which suits findings that can be seen anywhere in it, or that stand in the text alone. A class,
a grade or a number of a study holds for it as a whole: it counts where a present finding does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from medfuse.data.samples import Case
from medfuse.errors import ConfigError
from medfuse.preprocess.grid import centred
from medfuse.seeding import stream
from medfuse.tensors import IGNORED, Sample

MOST_VOXELS = 1000
"""So many voxels of a segment are kept to choose among."""

Index = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOptions:
    """How training looks at studies that are larger than the network's input.

    Args:
        foreground_share: Share of their blocks that are centred on a voxel of a segment.
        findings: `shown`: a present finding, and a target, counts in blocks that hold a voxel of a segment, and in
            every block of a study without a delineation; `always`: in every block.
    """

    foreground_share: float = 1 / 3
    findings: Literal["shown", "always"] = "shown"

    def __post_init__(self) -> None:
        if not 0 <= self.foreground_share <= 1:
            raise ConfigError(f"training.blocks.foreground_share is {self.foreground_share}; expected between 0 and 1")


class Blocks:
    """Blocks of cases; each follows from seed, epoch and index alone.

    Args:
        cases: The studies.
        size: Shape of a block.
        options: How they are chosen.
        seed: The run's seed.

    Source: Isensee et al. 2021, "nnU-Net" (a third of the blocks around a voxel of a class drawn at random).
    """

    def __init__(self, cases: Sequence[Case], size: Index, options: BlockOptions, seed: int) -> None:
        self.size = size
        self.options = options
        self.seed = seed
        self._shapes = [case.image.shape[1:] for case in cases]
        self._foreground = {
            index: foreground_of(case.truth)
            for index, case in enumerate(cases)
            if case.truth is not None and not fits(case, size)
        }

    def start(self, epoch: int, index: int) -> Index:
        """First voxel of the block that an epoch takes of a case."""
        shape = self._shapes[index]
        random = stream(self.seed, "block", epoch, index)
        begin = [int(random.integers(0, max(n - m, 0) + 1)) for n, m in zip(shape, self.size, strict=True)]
        segments = self._foreground.get(index)
        if segments and random.random() < self.options.foreground_share:
            voxels = segments[int(random.integers(len(segments)))]
            middle = np.unravel_index(int(random.choice(voxels)), shape)
            begin = [
                min(max(int(at) - m // 2, 0), max(n - m, 0)) for at, n, m in zip(middle, shape, self.size, strict=True)
            ]
        centre = centred(shape, self.size)
        i, j, k = (
            start if n > m else middle for start, middle, n, m in zip(begin, centre, shape, self.size, strict=True)
        )
        return i, j, k

    def taught(self, sample: Sample, index: int) -> Sample:
        """The sample of a block, without the findings and targets that it does not show."""
        if self.options.findings == "always" or not self._foreground.get(index):
            return sample
        truth = sample.segment_targets
        if ((truth > 0) & (truth != IGNORED)).any():
            return sample
        return replace(
            sample,
            finding_mask=sample.finding_mask & (sample.finding_targets == 0),
            target_mask=torch.zeros_like(sample.target_mask),
        )


def fits(case: Case, size: Index) -> bool:
    """Whether a block of `size` shows the whole study."""
    return all(n <= m for n, m in zip(case.image.shape[1:], size, strict=True))


def foreground_of(truth: NDArray[np.uint8]) -> tuple[NDArray[np.int64], ...]:
    """Flat indices of voxels of each segment that a label map holds, at most `MOST_VOXELS` evenly drawn of each."""
    where = np.flatnonzero(truth)
    numbers = truth.reshape(-1)[where]
    voxels = (where[numbers == number] for number in np.unique(numbers) if number != IGNORED)
    return tuple(
        of_one[np.linspace(0, len(of_one) - 1, min(len(of_one), MOST_VOXELS)).astype(int)] for of_one in voxels
    )
