import math

import pytest
import torch

from medfuse.losses import SegmentationLoss, finding_loss, volume_loss


def test_findings_that_were_not_assessed_take_no_part() -> None:
    logits = torch.tensor([[0.0, 100.0], [2.0, -100.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    mask = torch.tensor([[True, False], [True, False]])
    loss = finding_loss(logits, targets, mask)
    assert loss.item() == pytest.approx((math.log(2) + math.log(1 + math.exp(2))) / 2)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[:, 1].eq(0).all()


def test_a_batch_without_labels_gives_zero() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    loss = finding_loss(logits, torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("loss", [SegmentationLoss(), volume_loss])
def test_studies_without_a_mask_take_no_part(loss: object) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 4, 4, 4), torch.randint(0, 3, (2, 4, 4, 4))
    one = torch.tensor([True, False])
    other = logits.clone()
    other[1] = 9
    assert callable(loss)
    assert loss(logits, targets, one) == loss(other, targets, one)
    assert loss(logits, targets, torch.tensor([False, False])).item() == 0


def test_a_perfect_answer_costs_nothing_and_a_doubled_volume_log_two() -> None:
    targets = torch.zeros(1, 8, 8, 8, dtype=torch.long)
    targets[0, :4] = 1
    perfect = torch.stack([(targets == c).float() for c in (0, 1)], dim=1) * 60 - 30
    assert SegmentationLoss()(perfect, targets, torch.tensor([True])).item() == pytest.approx(0, abs=1e-3)
    assert volume_loss(perfect, targets, torch.tensor([True])).item() == pytest.approx(0, abs=1e-3)
    everything = torch.zeros(1, 2, 8, 8, 8)
    everything[:, 1] = 60
    expected = math.log((512 + 20) / (256 + 20))
    assert volume_loss(everything, targets, torch.tensor([True])).item() == pytest.approx(expected, rel=1e-4)
