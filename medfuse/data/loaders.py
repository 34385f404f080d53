"""Batches of an epoch, in an order and with variations that follow from the seed and the epoch alone."""

from collections.abc import Iterator, Sequence

from torch.utils.data import Dataset

from medfuse.data.augment import Augmentation
from medfuse.data.blocks import BlockOptions, Blocks
from medfuse.data.samples import Case, sample_of
from medfuse.domain.labels import LabelSet
from medfuse.seeding import derived_seed, stream
from medfuse.tensors import Sample


class CaseSamples(Dataset[Sample]):
    """Samples of cases; the block and the variation of an epoch follow from seed, epoch and index.

    Args:
        cases: The studies.
        size: Shape of a sample.
        label_set: Order of the findings.
        augmentation: Varies samples; None leaves them as they are.
        seed: The run's seed.
        blocks: How blocks of studies larger than `size` are chosen; None for the one in the centre.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        size: tuple[int, int, int],
        label_set: LabelSet,
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        blocks: BlockOptions | None = None,
    ) -> None:
        self.cases = cases
        self.size = size
        self.label_set = label_set
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0
        self._blocks = Blocks(cases, size, blocks, seed) if blocks is not None else None

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Sample:
        start = self._blocks.start(self.epoch, index) if self._blocks is not None else None
        sample = sample_of(self.cases[index], self.size, self.label_set, start=start)
        if self._blocks is not None:
            sample = self._blocks.taught(sample, index)
        if self.augmentation is None:
            return sample
        return self.augmentation(sample, derived_seed(self.seed, "augment", self.epoch, index))


class EpochBatches:
    """A batch sampler whose order follows from seed and epoch; the last, smaller batch is left out.

    Args:
        count: Number of samples.
        batch_size: Samples a batch; at most `count`.
        seed: The run's seed.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count = count
        self.batch_size = min(batch_size, count)
        self.drop_last = True
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = stream(self.seed, "order", self.epoch).permutation(self.count)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size].tolist()
