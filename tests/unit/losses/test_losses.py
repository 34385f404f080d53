import math

import pytest
import torch
from monai.losses import DiceCELoss

from medfuse.losses import SegmentationLoss, finding_loss, volume_loss
from medfuse.tensors import IGNORED


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


@pytest.mark.parametrize("loss", [SegmentationLoss(), SegmentationLoss("dice_focal"), volume_loss])
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


def test_dice_and_cross_entropy_are_monais_and_so_is_the_focal_loss_of_gamma_zero() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 4, 5, 6))
    both = torch.tensor([True, True])
    monai = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)(logits, targets[:, None])
    assert SegmentationLoss()(logits, targets, both).item() == pytest.approx(monai.item(), rel=1e-6)
    assert SegmentationLoss("dice_focal", gamma=0.0)(logits, targets, both).item() == pytest.approx(monai.item())
    assert SegmentationLoss("dice_focal")(logits, targets, both) < monai


@pytest.mark.parametrize("loss", [SegmentationLoss(), SegmentationLoss("dice_focal"), volume_loss])
def test_ignored_voxels_take_no_part(loss: object) -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    targets = torch.randint(0, 3, (1, 4, 4, 4))
    half = targets.clone()
    half[:, 2:] = IGNORED
    there = torch.tensor([True])
    assert callable(loss)
    value = loss(logits, half, there)
    torch.testing.assert_close(value, loss(logits[:, :, :2], targets[:, :2], there))
    value.backward()
    assert logits.grad is not None
    assert logits.grad[:, :, 2:].eq(0).all()
    assert logits.grad[:, :, :2].ne(0).any()
    nothing = loss(logits, torch.full_like(targets, IGNORED), there)
    assert nothing.item() == 0


def test_balanced_findings_weigh_alike_and_keep_their_probability() -> None:
    """The logit that minimises the balanced loss is that of the true prevalence; so is the plain loss's."""
    targets = torch.zeros(10, 1)
    targets[0] = 1
    mask, prevalence = torch.ones(10, 1, dtype=torch.bool), torch.tensor([0.1])
    logit = torch.tensor([[math.log(0.1 / 0.9)]], requires_grad=True)
    finding_loss(logit.expand(10, 1), targets, mask, prevalence).backward()
    assert logit.grad is not None
    assert logit.grad.item() == pytest.approx(0, abs=1e-6)
    gradients = []
    for balance in (prevalence, None):
        logits = torch.full((10, 1), math.log(0.1 / 0.9), requires_grad=True)
        finding_loss(logits, targets, mask, balance).backward()
        assert logits.grad is not None
        gradients.append(logits.grad)
    assert gradients[0][0].abs().item() == pytest.approx(gradients[0][1:].abs().sum().item())
    assert gradients[0][0].abs() > 2 * gradients[1][0].abs()
