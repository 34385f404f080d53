"""One step, one epoch, one validation."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from monai.metrics.meandice import compute_dice
from torch import Tensor, nn

from medfuse.losses import Criterion
from medfuse.metrics.classification import auroc
from medfuse.tensors import IGNORED, Batch, ModelOutput, segment_masks
from medfuse.training.average import WeightAverage
from medfuse.training.options import TrainingOptions

OnStep = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Mean losses of an epoch; a part that the model lacks is zero.

    Args:
        total: The weighted sum.
        findings: Of the findings.
        segments: Of the segmentation.
        targets: Of the targets.
        waiting: Share of the epoch's time in which the network waited for its next batch.
    """

    total: float
    findings: float
    segments: float
    targets: float = 0.0
    waiting: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Validation:
    """What a validation saw.

    Args:
        losses: On the validation studies.
        logits: Shape `(n, F)`.
        targets: Shape `(n, F)`.
        mask: Shape `(n, F)`.
        dice: Mean Dice over studies and segments on the model grid; None without masks.
        auroc: Mean AUROC over findings with both classes; None without.
    """

    losses: Losses
    logits: Tensor
    targets: Tensor
    mask: Tensor
    dice: float | None
    auroc: float | None


def learning_rate(step: int, total: int, options: TrainingOptions) -> float:
    """Linear warm-up, then down to zero by the schedule: it follows from the step alone, so resuming needs no state."""
    warm = min(1.0, (step + 1) / max(1, min(options.warmup_steps, total // 4)))
    done = min(1.0, step / total)
    left = 0.5 * (1 + math.cos(math.pi * done)) if options.schedule == "cosine" else (1 - done) ** 0.9
    return options.learning_rate * warm * left


def train_epoch(
    network: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    criterion: Criterion[TrainingOptions],
    accelerator: Accelerator,
    *,
    first_step: int,
    total_steps: int,
    on_step: OnStep,
    average: WeightAverage | None = None,
) -> Losses:
    """One pass over `batches`.

    Args:
        network: What is trained.
        batches: Of one epoch.
        optimizer: Of the network's weights.
        criterion: The losses, with the schedule and what is done with gradients among their options.
        accelerator: The device and its precision.
        first_step: Batches seen before this epoch.
        total_steps: Batches of the whole run.
        on_step: Called with each batch's loss.
        average: Follows the weights, or None.
    """
    network.train()
    criterion.train()
    history = []
    options = criterion.options
    clock = _Clock(batches)
    optimizer.zero_grad()
    for step, batch, is_last in clock.batches(first_step):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, total_steps, options)
        batch = batch.to(accelerator.device)
        with accelerator.autocast():
            output = network(batch)
        losses = criterion(output, batch)
        accelerator.backward(losses.total / options.accumulate)
        if is_last or (step - first_step + 1) % options.accumulate == 0:
            accelerator.clip_grad_norm_(network.parameters(), options.clip_norm)
            for weight in criterion.parameters():  # the network's are averaged over the processes by its wrapper
                weight.grad = accelerator.reduce(weight.grad, reduction="mean")
            optimizer.step()
            optimizer.zero_grad()
            if average is not None:
                average.update(step // options.accumulate)
        history.append([loss.detach() for loss in losses])
        on_step(float(losses.total.detach()))
    return replace(_mean(history), waiting=clock.waiting)


@torch.no_grad()
def validate(
    network: nn.Module, answers: Iterable[tuple[ModelOutput, Batch]], criterion: Criterion[TrainingOptions]
) -> Validation:
    """One look at the validation studies.

    Args:
        network: Is put into evaluation mode before the first answer is asked for.
        answers: What it says of them (see `medfuse.training.whole.answers`).
        criterion: The losses.
    """
    network.eval()
    criterion.eval()
    history, outputs, targets, masks, dices = [], [], [], [], []
    for output, batch in answers:
        history.append(criterion(output, batch))
        outputs.append(output.finding_logits.float().cpu())
        targets.append(batch.finding_targets.cpu())
        masks.append(batch.finding_mask.cpu())
        if output.segment_logits is not None and batch.segment_mask.any():
            dices.append(_dice(output.segment_logits, batch, criterion.overlapping))
    logits, target, mask = torch.cat(outputs), torch.cat(targets), torch.cat(masks)
    dice = torch.cat(dices).nanmean().item() if dices else None
    return Validation(
        losses=_mean(history), logits=logits, targets=target, mask=mask, dice=dice, auroc=_auroc(logits, target, mask)
    )


class _Clock:
    """Counts the batches of an epoch, tells the last one, and measures how long they were waited for."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self._waited = self._took = 0.0

    @property
    def waiting(self) -> float:
        """Share of the time so far that went into waiting."""
        return self._waited / self._took if self._took else 0.0

    def batches(self, first: int) -> Iterator[tuple[int, Batch, bool]]:
        """Number from `first`, batch, and whether it is the last one."""
        started = time.perf_counter()
        source = iter(self._batches)
        batch = next(source, None)
        self._waited = time.perf_counter() - started
        number = first
        while batch is not None:
            asked = time.perf_counter()
            following = next(source, None)
            self._waited += time.perf_counter() - asked
            yield number, batch, following is None
            self._took = time.perf_counter() - started
            number, batch = number + 1, following


def _mean(history: list[Any]) -> Losses:
    total, findings, segments, targets = (float(torch.stack(part).mean()) for part in zip(*history, strict=True))
    return Losses(total=total, findings=findings, segments=segments, targets=targets)


def _dice(logits: Tensor, batch: Batch, overlapping: bool) -> Tensor:
    """Dice of each study and segment, NaN where the true segment is empty."""
    segments = logits.shape[1] - (not overlapping)
    known = (batch.segment_targets != IGNORED)[:, None]
    true = segment_masks(batch.segment_targets, segments, overlapping)
    said = logits > 0 if overlapping else segment_masks(logits.argmax(dim=1), segments, overlapping)
    rows = batch.segment_mask
    return torch.as_tensor(compute_dice((said & known)[rows].long(), (true & known)[rows].long()))


def _auroc(logits: Tensor, targets: Tensor, mask: Tensor) -> float | None:
    values = [
        auroc(targets[rows, finding].numpy(), logits[rows, finding].numpy())
        for finding, rows in enumerate(mask.T)
        if 0 < targets[rows, finding].sum() < rows.sum()
    ]
    return sum(values) / len(values) if values else None
