"""The loss of segments that overlap."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import pad

from medfuse.domain import LabelSet
from medfuse.heads import RegionMeasures
from medfuse.losses import Criterion, SegmentationLoss, volume_loss
from medfuse.tensors import IGNORED, segment_masks, segment_probabilities
from medfuse.training.loop import _dice
from medfuse.training.options import TrainingOptions
from tests.parts import make_batch, make_network

NESTED = LabelSet(segments=("whole", "core"), overlapping=True)


def truth() -> torch.Tensor:
    """Two studies; the whole is 4 x 4 x 4 voxels, the core 2 x 2 x 2 within it."""
    label_map = torch.zeros(2, 8, 8, 8, dtype=torch.long)
    label_map[:, 2:6, 2:6, 2:6] = 0b01
    label_map[:, 3:5, 3:5, 3:5] = 0b11
    return label_map


def right(label_map: torch.Tensor, size: float = 12.0) -> torch.Tensor:
    return (segment_masks(label_map, 2, True).float() * 2 - 1) * size


BOTH = torch.tensor([True, True])


def test_bits_are_read_and_ignored_voxels_belong_nowhere() -> None:
    label_map = torch.tensor([0b00, 0b01, 0b11, 0b10, IGNORED]).view(1, 5, 1, 1)
    assert segment_masks(label_map, 2, True).flatten(2)[0].int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 1, 1, 0]]
    assert segment_masks(torch.tensor([0, 1, 2, IGNORED]).view(1, 4, 1, 1), 2, False).flatten(2)[0].int().tolist() == [
        [0, 1, 0, 0],
        [0, 0, 1, 0],
    ]
    logits = torch.tensor([0.0, 2.0, -2.0]).view(1, 3, 1, 1, 1)
    assert segment_probabilities(logits, True).flatten().tolist() == pytest.approx([0.5, 0.8808, 0.1192], abs=1e-4)
    assert segment_probabilities(logits, False).flatten().tolist() == pytest.approx([0.8668, 0.0159], abs=1e-4)


@pytest.mark.parametrize("kind", ["dice_ce", "dice_focal"])
def test_the_right_answer_costs_nothing_and_each_segment_is_told_by_itself(kind: str) -> None:
    loss = SegmentationLoss(kind, overlapping=True)  # type: ignore[arg-type]
    assert loss(right(truth()), truth(), BOTH).item() == pytest.approx(0, abs=1e-3)
    without_core = right(truth())
    without_core[:, 1] = -12.0
    assert loss(without_core, truth(), BOTH).item() > 0.45
    logits = torch.zeros(2, 2, 8, 8, 8, requires_grad=True)
    loss(logits, truth(), BOTH).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0, 3, 3, 3] < 0).all()
    assert (logits.grad[:, 1, 3, 3, 3] < 0).all()


@pytest.mark.parametrize("kind", ["dice_ce", "dice_focal"])
def test_ignored_voxels_and_studies_without_a_mask_take_no_part(kind: str) -> None:
    loss = SegmentationLoss(kind, overlapping=True)  # type: ignore[arg-type]
    label_map = truth()
    label_map[:, :3] = IGNORED
    logits = torch.randn(2, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    other = logits.clone()
    other[:, :, :3] = 50.0
    assert loss(logits, label_map, BOTH).item() == pytest.approx(loss(other, label_map, BOTH).item())
    changed = logits.clone()
    changed[1] = 50.0
    first = torch.tensor([True, False])
    assert loss(logits, label_map, first).item() == pytest.approx(loss(changed, label_map, first).item())
    logits.requires_grad_(True)
    nothing = loss(logits, label_map, torch.tensor([False, False]))
    nothing.backward()
    assert nothing.item() == 0
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


def test_volumes_count_a_voxel_for_each_of_its_segments() -> None:
    assert volume_loss(right(truth(), 30.0), truth(), BOTH, True).item() == pytest.approx(0, abs=1e-4)
    assert volume_loss(-right(truth()), truth(), BOTH, True).item() > 1
    measures = RegionMeasures(2, 16, overlapping=True, truth_share=1.0, noise=0.0)
    volumes = measures.volumes_ml(right(truth(), 30.0), torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(volumes, torch.tensor([[32.0, 4.0], [64.0, 8.0]]))


def test_a_network_delineates_overlapping_segments_at_every_level(tiny_bert: Path) -> None:
    network = make_network(tiny_bert, label_set=NESTED, deep_supervision=1).train()
    batch = make_batch(network)
    output = network(batch)
    assert output.segment_logits is not None
    assert output.segment_logits.shape == (4, 2, 16, 16, 16)
    assert [tuple(level.shape) for level in output.deep_logits] == [(4, 2, 8, 8, 8)]
    criterion = Criterion(TrainingOptions(volume_weight=0.0), overlapping=True)
    _, _, segments, _ = criterion(output, batch)
    loss = SegmentationLoss(overlapping=True)
    fine = loss(output.segment_logits, batch.segment_targets, batch.segment_mask)
    coarse = loss(output.deep_logits[0], batch.segment_targets[:, 1::2, 1::2, 1::2], batch.segment_mask)
    assert segments.item() == pytest.approx(((2 * fine + coarse) / 3).item(), rel=1e-5)


def test_validation_takes_the_dice_of_each_segment(tiny_bert: Path) -> None:
    network = make_network(tiny_bert, label_set=NESTED)
    batch = make_batch(network, 2)
    label_map = pad(truth(), (4,) * 6)
    said = right(label_map)
    label_map[0, 9] = IGNORED
    batch = replace(batch, segment_targets=label_map, segment_mask=BOTH)
    said[0, :, 9] = 12.0
    torch.testing.assert_close(_dice(said, batch, True), torch.ones(2, 2))
    said[1, 1] = -12.0
    assert _dice(said, batch, True)[1].tolist() == [1, 0]
