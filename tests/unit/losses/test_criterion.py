"""The sum of the losses, with weights that are given or learned."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from medfuse.domain import LabelSet, Target, TargetKind
from medfuse.losses import Criterion, TargetLoss
from medfuse.tensors import Batch, ModelOutput
from tests.parts import make_batch, make_network


@dataclass(frozen=True, kw_only=True)
class Weights:
    finding_weight: float = 2.0
    target_weight: float = 1.0
    segment_weight: float = 0.5
    volume_weight: float = 0.3
    segment_loss: Literal["dice_ce", "dice_focal"] = "dice_ce"
    task_weights: Literal["fixed", "learned"] = "learned"


@pytest.fixture
def answered(tiny_bert: Path) -> tuple[ModelOutput, Batch]:
    network = make_network(tiny_bert)
    batch = make_batch(network)
    return network(batch), batch


def without(batch: Batch, *, findings: bool = False, segments: bool = False) -> Batch:
    return replace(
        batch,
        finding_mask=batch.finding_mask & (not findings),
        segment_mask=batch.segment_mask & (not segments),
    )


def test_learned_weights_start_at_the_fixed_ones(answered: tuple[ModelOutput, Batch]) -> None:
    criterion = Criterion(Weights())
    total, findings, segments, _ = criterion(*answered)
    offset = -(math.log(2) + math.log(0.5)) / 2
    assert total.item() == pytest.approx((2 * findings + 0.5 * segments).item() + offset, rel=1e-5)
    fixed, *_ = Criterion(Weights(task_weights="fixed"))(*answered)
    assert fixed.item() == pytest.approx((2 * findings + 0.5 * segments).item(), rel=1e-5)
    assert list(Criterion(Weights(task_weights="fixed")).parameters()) == []


def test_a_learned_weight_settles_at_half_the_inverse_of_its_loss(answered: tuple[ModelOutput, Batch]) -> None:
    criterion = Criterion(Weights())
    assert criterion.log_variances is not None
    output, batch = answered
    output = replace(
        output, finding_logits=output.finding_logits.detach(), segment_logits=output.segment_logits.detach()
    )  # type: ignore[union-attr]
    optimizer = torch.optim.SGD(criterion.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        total, findings, segments, _ = criterion(output, batch)
        total.backward()
        optimizer.step()
    expected = [1 / (2 * findings.item()), 1 / (2 * segments.item())]
    assert (-criterion.log_variances).exp().tolist() == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(("findings", "segments"), [(True, False), (False, True), (True, True)])
def test_a_task_without_labels_in_a_batch_moves_no_weight(
    answered: tuple[ModelOutput, Batch], findings: bool, segments: bool
) -> None:
    criterion = Criterion(Weights())
    output, batch = answered
    total, *_ = criterion(output, without(batch, findings=findings, segments=segments))
    total.backward()
    assert criterion.log_variances is not None
    assert criterion.log_variances.grad is not None
    assert criterion.log_variances.grad.eq(0).tolist() == [findings, segments]


def test_a_task_of_weight_zero_stays_out(answered: tuple[ModelOutput, Batch]) -> None:
    criterion = Criterion(Weights(segment_weight=0.0))
    total, findings, *_ = criterion(*answered)
    assert total.item() == pytest.approx(2 * findings.item() - math.log(2) / 2, rel=1e-5)


def test_epochs_are_compared_by_the_fixed_weights(answered: tuple[ModelOutput, Batch]) -> None:
    criterion = Criterion(Weights())
    assert criterion.log_variances is not None
    with torch.no_grad():
        criterion.log_variances += 3
    total, findings, segments, _ = criterion.eval()(*answered)
    assert total.item() == pytest.approx((2 * findings + 0.5 * segments).item(), rel=1e-5)


def test_the_state_is_the_learned_weights_alone() -> None:
    prevalence = torch.tensor([0.1, 0.4])
    assert list(Criterion(Weights(), prevalence).state_dict()) == ["log_variances"]
    assert list(Criterion(Weights(task_weights="fixed"), prevalence).state_dict()) == []


def test_the_options_reach_the_losses(answered: tuple[ModelOutput, Batch]) -> None:
    _, findings, segments, _ = Criterion(Weights())(*answered)
    _, balanced, *_ = Criterion(Weights(), torch.tensor([0.1, 0.4]))(*answered)
    _, _, focal, _ = Criterion(Weights(segment_loss="dice_focal"))(*answered)
    assert balanced != findings
    assert focal < segments


AGE = Target(name="age", kind=TargetKind.NUMBER)


@pytest.fixture
def aged(tiny_bert: Path) -> tuple[ModelOutput, Batch]:
    """A model with a target, which is known of the first two studies."""
    labels = LabelSet(findings=("large", "elderly"), segments=("head", "tail"), targets=(AGE,))
    network = make_network(tiny_bert, label_set=labels)
    batch = replace(
        make_batch(network),
        target_values=torch.tensor([[3.0], [2.0], [0.0], [0.0]]),
        target_mask=torch.tensor([[True], [True], [False], [False]]),
    )
    return network(batch), batch


def test_targets_have_a_weight_of_their_own_given_or_learned(aged: tuple[ModelOutput, Batch]) -> None:
    losses = TargetLoss((AGE,), torch.ones(1))
    fixed = Criterion(Weights(task_weights="fixed", target_weight=3.0), targets=losses)
    total, findings, segments, targets = fixed(*aged)
    assert targets.item() > 0
    assert total.item() == pytest.approx((2 * findings + 0.5 * segments + 3 * targets).item(), rel=1e-5)
    learned = Criterion(Weights(target_weight=3.0), targets=losses)
    assert learned(*aged).total.item() == pytest.approx(total.item() - math.log(2 * 0.5 * 3) / 2, rel=1e-5)
    assert learned.log_variances is not None
    assert learned.log_variances.shape == (3,)
    assert learned.eval()(*aged).total.item() == pytest.approx(total.item(), rel=1e-5)


def test_a_batch_that_knows_no_target_moves_no_weight_of_theirs(aged: tuple[ModelOutput, Batch]) -> None:
    criterion = Criterion(Weights(), targets=TargetLoss((AGE,), torch.ones(1)))
    output, batch = aged
    losses = criterion(output, replace(batch, target_mask=torch.zeros_like(batch.target_mask)))
    losses.total.backward()
    assert losses.targets.item() == 0
    assert criterion.log_variances is not None
    assert criterion.log_variances.grad is not None
    assert criterion.log_variances.grad.eq(0).tolist() == [False, False, True]
