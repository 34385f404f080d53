"""The sum of the losses."""

import itertools
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from medfuse.domain import LabelSet
from medfuse.losses import SegmentationLoss
from medfuse.tensors import Batch
from medfuse.training.loop import Criterion, learning_rate, train_epoch
from medfuse.training.options import TrainingOptions
from medfuse.training.runtime import accelerator_for
from tests.parts import LABELS, make_batch, make_network


def test_each_coarser_level_counts_half_of_the_one_before(tiny_bert: Path) -> None:
    network = make_network(tiny_bert, deep_supervision=1)
    batch = make_batch(network)
    output = network.train()(batch)
    _, _, segments, _ = Criterion(TrainingOptions(volume_weight=0.0))(output, batch)
    loss = SegmentationLoss()
    fine = loss(output.segment_logits, batch.segment_targets, batch.segment_mask)
    truth = batch.segment_targets[:, 1::2, 1::2, 1::2]
    coarse = loss(output.deep_logits[0], truth, batch.segment_mask)
    assert segments.item() == pytest.approx(((2 * fine + coarse) / 3).item(), rel=1e-5)
    assert not torch.isclose(fine, coarse)


def test_gradients_add_up_over_batches(tiny_bert: Path) -> None:
    """Two batches of two studies, added up, move the weights as the four studies at once do."""
    moved = []
    for accumulate in (1, 2):
        network = make_network(
            tiny_bert, finding_dropout=0.0, modality_dropout=0.0, label_set=LabelSet(findings=LABELS.findings)
        )
        network.text_encoder.dropout.p = 0.0
        for part in network.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        halves = (
            [make_batch(network, 4)]
            if accumulate == 1
            else [pick(make_batch(network, 4), rows) for rows in ([0, 1], [2, 3])]
        )
        options = TrainingOptions(accumulate=accumulate, clip_norm=1e9, warmup_steps=1)
        train_epoch(
            network,
            halves,
            torch.optim.SGD(network.parameters()),
            Criterion(options),
            accelerator_for("fp32"),
            first_step=0,
            total_steps=10**9,
            on_step=lambda loss: None,
        )
        moved.append(network.findings.read_out["all"].weight.detach().clone())
    torch.testing.assert_close(*moved, rtol=1e-4, atol=1e-6)


def test_computing_activations_again_changes_no_gradient(tiny_bert: Path) -> None:
    gradients = []
    for recompute in (False, True):
        network = make_network(tiny_bert, modality_dropout=0.0)
        network.recompute = recompute
        torch.manual_seed(1)
        output = network.train()(make_batch(network))
        (output.segment_logits.square().mean() + output.finding_logits.square().mean()).backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    torch.testing.assert_close(*gradients)
    assert gradients[0]


def test_both_schedules_end_at_zero() -> None:
    for schedule in ("cosine", "poly"):
        options = TrainingOptions(learning_rate=1.0, warmup_steps=10, schedule=schedule)
        rates = [learning_rate(step, 100, options) for step in range(101)]
        assert max(rates) == pytest.approx(rates[9], rel=0.1)
        assert rates[100] == 0
        assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def pick(batch: Batch, rows: list[int]) -> Batch:
    """Some studies of a batch."""

    def cut(record: object) -> dict[str, object]:
        return {f.name: getattr(record, f.name) for f in fields(record)}

    text = {name: value[rows] for name, value in cut(batch.text).items()}
    parts = {name: value[rows] for name, value in cut(batch).items() if isinstance(value, torch.Tensor)}
    uids = tuple(batch.study_instance_uids[row] for row in rows)
    return Batch(study_instance_uids=uids, text=type(batch.text)(**text), **parts)
