"""Small cases, batches and models that several tests build on."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from medfuse.data.collate import collate
from medfuse.data.samples import Case, sample_of
from medfuse.domain import LabelSet, LabelValue
from medfuse.model import FusionNetwork, ModelSpec, assemble
from medfuse.seeding import stream
from medfuse.tensors import Batch

SIZE = (16, 16, 16)
LABELS = LabelSet(findings=("large", "elderly"), segments=("head", "tail"))
TEXTS = ("74 year old man with memory loss.", "No lesion in the left lung, aged 31.", "", "aged 9")


def make_case(index: int = 0, *, channels: int = 2, shape: tuple[int, int, int] = (14, 18, 12)) -> Case:
    """A case with a bright box whose size follows from the index, and its truth."""
    random = stream(0, "case", index)
    image = random.normal(0, 0.3, (channels, *shape)).astype(np.float32)
    truth = np.zeros(shape, dtype=np.uint8)
    half = 3 + index % 3
    truth[3 : 3 + half, 4 : 4 + half, 2 : 2 + half] = 1
    truth[3 : 3 + half, 4 + half : 8 + half, 2 : 2 + half] = 2
    image[0][truth == 1] += 2
    image[-1][truth == 2] += 2
    values = (LabelValue.PRESENT if index % 2 else LabelValue.ABSENT, LabelValue.NOT_ASSESSED)
    return Case(
        study_instance_uid=f"1.2.{index}",
        image=image,
        channel_present=np.ones(channels, dtype=bool),
        text=TEXTS[index % len(TEXTS)],
        truth=truth,
        labels=dict(zip(LABELS.findings, values, strict=True)),
        voxel_volume_ml=0.001,
    )


def make_spec(tiny_bert: Path, **changes: Any) -> ModelSpec:
    """A specification of a small network."""
    options = {
        "width": 32,
        "image_options": {"features": (4, 8, 16)},
        "text_options": {"weights": str(tiny_bert)},
        "fusion_options": {"layers": 1},
    }
    return ModelSpec(**(options | changes))


def make_network(tiny_bert: Path, channels: int = 2, label_set: LabelSet = LABELS, **changes: Any) -> FusionNetwork:
    """A small network with seeded weights."""
    torch.manual_seed(0)
    return assemble(make_spec(tiny_bert, **changes), label_set, channels)


def make_batch(network: FusionNetwork, count: int = 4) -> Batch:
    """A batch of the first cases; one of them has no text."""
    encoder = network.text_encoder
    samples = [sample_of(make_case(index), SIZE, LABELS) for index in range(count)]
    return collate(samples, encoder.tokenize if encoder else None)
