"""The sum of the losses."""

from pathlib import Path

import pytest
import torch

from medfuse.losses import SegmentationLoss
from medfuse.training.loop import Criterion
from medfuse.training.options import TrainingOptions
from tests.parts import make_batch, make_network


def test_each_coarser_level_counts_half_of_the_one_before(tiny_bert: Path) -> None:
    network = make_network(tiny_bert, deep_supervision=1)
    batch = make_batch(network)
    output = network.train()(batch)
    _, _, segments = Criterion(TrainingOptions(volume_weight=0.0))(output, batch)
    loss = SegmentationLoss()
    fine = loss(output.segment_logits, batch.segment_targets, batch.segment_mask)
    truth = batch.segment_targets[:, 1::2, 1::2, 1::2]
    coarse = loss(output.deep_logits[0], truth, batch.segment_mask)
    assert segments.item() == pytest.approx(((2 * fine + coarse) / 3).item(), rel=1e-5)
    assert not torch.isclose(fine, coarse)
