"""How long a step of a planned run takes here: a few are made, on studies of noise."""

import time
from collections.abc import Iterator
from functools import partial
from statistics import median

import numpy as np
import torch
from torch.utils.data import DataLoader

from medfuse.config.schema import TrainConfig
from medfuse.data.augment import Augmentation
from medfuse.data.collate import collate
from medfuse.data.loaders import CaseSamples
from medfuse.data.samples import Case
from medfuse.domain.labels import LabelValue
from medfuse.losses import Criterion
from medfuse.model import assemble
from medfuse.planning.fingerprint import Fingerprint
from medfuse.seeding import stream
from medfuse.tensors import Batch
from medfuse.training.loop import train_epoch
from medfuse.training.runtime import accelerator_for

STEPS = 4
"""Steps that are timed, behind two that are not: what torch sets up once would count."""
_UNTIMED = 2


def seconds_a_step(config: TrainConfig, fingerprint: Fingerprint) -> float:
    """Seconds of a step of training, from drawing the samples to the new weights: the median of a few real ones.

    Args:
        config: The run.
        fingerprint: How large the studies are, and how long their texts.
    """
    plan = config.plan()
    accelerator = accelerator_for(plan.training.precision)
    torch.manual_seed(0)
    network = assemble(plan.spec, plan.label_set, len(plan.recipe.channels))
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    model, optimizer = accelerator.prepare(network, torch.optim.AdamW(weights, lr=1e-6))
    network.recompute = plan.training.recompute
    marks: list[float] = []

    def mark(loss: float) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        marks.append(time.perf_counter())

    train_epoch(
        model,
        _batches(config, fingerprint, network.text_encoder),
        optimizer,
        Criterion(plan.training),
        accelerator,
        first_step=0,
        total_steps=1000,
        on_step=mark,
    )
    return float(median(np.diff(marks)[_UNTIMED - 1 :].tolist()))


def _batches(config: TrainConfig, fingerprint: Fingerprint, text: torch.nn.Module | None) -> Iterator[Batch]:
    plan = config.plan()
    count = (_UNTIMED + STEPS) * plan.training.batch_size
    augment = plan.training.augment
    case = _case(config, fingerprint)
    samples = CaseSamples(
        [case] * count,
        plan.recipe.size,
        plan.label_set,
        augmentation=Augmentation(augment, plan.label_set) if augment and plan.spec.image else None,
    )
    tokenize = getattr(text, "tokenize", None)
    loader = DataLoader(
        samples,
        batch_size=plan.training.batch_size,
        collate_fn=partial(collate, tokenize=tokenize),
        num_workers=plan.training.workers,
    )
    yield from loader


def _case(config: TrainConfig, fingerprint: Fingerprint) -> Case:
    """A study of noise, of the median size at the planned spacing."""
    random = stream(0, "timing")
    spacing = config.recipe.spacing_mm
    i, j, k = np.median(fingerprint.shapes_at(spacing), axis=0).astype(int).tolist()
    channels = len(config.recipe.channels)
    truth = random.integers(0, len(config.labels.segments) + 1, (i, j, k)) if config.labels.segments else None
    return Case(
        study_instance_uid="0",
        image=random.standard_normal((channels, i, j, k), dtype=np.float32),
        channel_present=np.ones(channels, dtype=bool),
        text="word " * fingerprint.text.median_words,
        truth=None if truth is None else truth.astype(np.uint8),
        labels=dict.fromkeys(config.labels.findings, LabelValue.PRESENT),
        voxel_volume_ml=float(np.prod(spacing)) / 1000,
    )
