"""Four losses that a refactor must not change. A change that is meant to change them says so in its commit."""

from pathlib import Path

import pytest
import torch

from medfuse.training.loop import Criterion, train_epoch
from medfuse.training.options import TrainingOptions
from medfuse.training.runtime import accelerator_for
from tests.parts import make_batch, make_network

GOLDEN = {
    "concat": [3.82712, 3.74236, 3.65742, 3.63270],
    "cross_attention": [3.82638, 3.73211, 3.62838, 3.61003],
}
"""Rounding differs by processor, and Adam's first steps turn a small difference into one of some 1e-4."""


@pytest.mark.parametrize("fusion", sorted(GOLDEN))
def test_four_steps(fusion: str, tiny_bert: Path) -> None:
    options = TrainingOptions(warmup_steps=1, precision="fp32")
    network = make_network(tiny_bert, fusion=fusion, fusion_options={})
    batch = make_batch(network)
    losses: list[float] = []
    torch.manual_seed(1)
    train_epoch(
        network,
        [batch] * 4,
        torch.optim.AdamW(network.parameters()),
        Criterion(options),
        accelerator_for("fp32"),
        first_step=0,
        total_steps=8,
        on_step=losses.append,
    )
    assert losses == pytest.approx(GOLDEN[fusion], rel=1e-3)
