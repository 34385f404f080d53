"""A small network that has learnt two things whose reasons are known: a bright block, and a word."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from medfuse.data.collate import collate
from medfuse.data.samples import Case, sample_of
from medfuse.domain import LabelSet, LabelValue
from medfuse.inference.member import Member
from medfuse.model import ModelSpec, assemble
from medfuse.model.checkpoint import Calibration, Checkpoint
from medfuse.preprocess import ChannelRule, Recipe
from medfuse.seeding import stream

LABELS = LabelSet(findings=("bright", "smoker"))
SIZE = (16, 16, 16)
BLOCK = (slice(9, 13), slice(3, 7), slice(9, 13))
RECIPE = Recipe(channels=(ChannelRule(name="ct"),), spacing_mm=(1, 1, 1), size=SIZE)
FILLER = ("cough", "since", "monday", "denies", "fever", "and", "pain", "follow", "up", "visit", "no", "change")

MakeCase = Callable[..., Case]


def made(index: int, *, bright: bool | None = None, smokes: bool | None = None) -> Case:
    """A study of noise with or without a bright block, and a note with or without a word."""
    random = stream(1, "explained", index)
    bright = bool(random.random() < 0.5) if bright is None else bright
    smokes = bool(random.random() < 0.5) if smokes is None else smokes
    image = random.normal(0, 0.5, (1, *SIZE)).astype(np.float32)
    if bright:
        image[(0, *BLOCK)] += 3
    words = list(random.choice(FILLER, 8))
    words.insert(int(random.integers(8)), "tobacco" if smokes else "water")
    values = [LabelValue.PRESENT if there else LabelValue.ABSENT for there in (bright, smokes)]
    return Case(
        study_instance_uid=f"1.2.{index}",
        image=image,
        channel_present=np.ones(1, dtype=bool),
        text=" ".join(words),
        truth=None,
        labels=dict(zip(LABELS.findings, values, strict=True)),
        voxel_volume_ml=0.001,
    )


@pytest.fixture(scope="session")
def make_explained() -> MakeCase:
    return made


@pytest.fixture(scope="session")
def taught() -> Member:
    """The network, trained for a few seconds."""
    spec = ModelSpec(
        width=24,
        image="unet",
        image_options={"features": (4, 8)},
        text="hashing",
        fusion="concat",
    )
    torch.manual_seed(0)
    network = assemble(spec, LABELS, 1)
    encoder = network.text_encoder
    assert encoder is not None
    batches = [
        collate([sample_of(made(8 * step + n), SIZE, LABELS) for n in range(8)], encoder.tokenize) for step in range(12)
    ]
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    network.train()
    for step in range(96):
        batch = batches[step % len(batches)]
        loss = binary_cross_entropy_with_logits(network(batch).finding_logits, batch.finding_targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    calibration = {"bright": Calibration(slope=0.25, intercept=0.5), "smoker": Calibration(temperature=8.0)}
    checkpoint = Checkpoint(name="taught", label_set=LABELS, recipe=RECIPE, spec=spec, calibration=calibration)
    return Member(checkpoint, network, torch.device("cpu"))
