"""One step, one epoch, one validation."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from monai.metrics.meandice import compute_dice
from torch import Tensor, nn
from torch.nn.functional import interpolate, one_hot

from medfuse.losses import SegmentationLoss, finding_loss, volume_loss
from medfuse.metrics.classification import auroc
from medfuse.tensors import Batch, ModelOutput
from medfuse.training.options import TrainingOptions

OnStep = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Mean losses of an epoch; a part that the model lacks is zero."""

    total: float
    findings: float
    segments: float


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


class Criterion:
    """The weighted sum of the losses.

    Args:
        options: The weights.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options
        self.segmentation = SegmentationLoss()

    def __call__(self, output: ModelOutput, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Total, findings, segments (volumes included)."""
        zero = batch.voxel_volume_ml.new_zeros(())
        findings = segments = zero
        if output.finding_logits.shape[1]:
            findings = finding_loss(output.finding_logits, batch.finding_targets, batch.finding_mask)
        if output.segment_logits is not None:
            truth = (output.segment_logits, batch.segment_targets, batch.segment_mask)
            segments = self._levels(output, batch) + self.options.volume_weight * volume_loss(*truth)
        return self.options.finding_weight * findings + self.options.segment_weight * segments, findings, segments

    def _levels(self, output: ModelOutput, batch: Batch) -> Tensor:
        """The loss of every supervised level, each coarser one with half the weight of the one before."""
        levels = [output.segment_logits, *output.deep_logits]
        weights = [0.5**level for level in range(len(levels))]
        losses = [
            weight / sum(weights) * self.segmentation(logits, _at(batch.segment_targets, logits), batch.segment_mask)
            for logits, weight in zip(levels, weights, strict=True)
            if logits is not None
        ]
        return torch.stack(losses).sum()


def learning_rate(step: int, total: int, options: TrainingOptions) -> float:
    """Linear warm-up, then half a cosine to zero: it follows from the step alone, so resuming needs no state."""
    warm = min(1.0, (step + 1) / max(1, min(options.warmup_steps, total // 4)))
    return options.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))


def train_epoch(
    network: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    criterion: Criterion,
    accelerator: Accelerator,
    *,
    first_step: int,
    total_steps: int,
    on_step: OnStep,
) -> Losses:
    """One pass; `on_step` is called with each step's loss."""
    network.train()
    history = []
    for step, batch in enumerate(batches, start=first_step):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, total_steps, criterion.options)
        with accelerator.autocast():
            output = network(batch.to(accelerator.device))
        total, findings, segments = criterion(output, batch.to(accelerator.device))
        optimizer.zero_grad()
        accelerator.backward(total)
        accelerator.clip_grad_norm_(network.parameters(), criterion.options.clip_norm)
        optimizer.step()
        history.append((total.detach(), findings.detach(), segments.detach()))
        on_step(float(total.detach()))
    return _mean(history)


@torch.no_grad()
def validate(
    network: nn.Module, batches: Iterable[Batch], criterion: Criterion, accelerator: Accelerator
) -> Validation:
    """One look at the validation studies."""
    network.eval()
    history, outputs, targets, masks, dices = [], [], [], [], []
    for given in batches:
        batch = given.to(accelerator.device)
        with accelerator.autocast():
            output = network(batch)
        history.append(criterion(output, batch))
        outputs.append(output.finding_logits.float().cpu())
        targets.append(batch.finding_targets.cpu())
        masks.append(batch.finding_mask.cpu())
        if output.segment_logits is not None and batch.segment_mask.any():
            dices.append(_dice(output.segment_logits, batch))
    logits, target, mask = torch.cat(outputs), torch.cat(targets), torch.cat(masks)
    dice = torch.cat(dices).nanmean().item() if dices else None
    return Validation(
        losses=_mean(history), logits=logits, targets=target, mask=mask, dice=dice, auroc=_auroc(logits, target, mask)
    )


def _at(truth: Tensor, logits: Tensor) -> Tensor:
    """A label map on the grid of `logits`, nearest neighbour."""
    if truth.shape[1:] == logits.shape[2:]:
        return truth
    return interpolate(truth[:, None].float(), size=logits.shape[2:], mode="nearest-exact")[:, 0].long()


def _mean(history: list[Any]) -> Losses:
    total, findings, segments = (float(torch.stack(part).mean()) for part in zip(*history, strict=True))
    return Losses(total=total, findings=findings, segments=segments)


def _dice(logits: Tensor, batch: Batch) -> Tensor:
    """Dice of each study and segment, NaN where the true segment is empty."""
    classes = logits.shape[1]
    predicted, true = (
        one_hot(labels[batch.segment_mask], classes).movedim(-1, 1)
        for labels in (logits.argmax(dim=1), batch.segment_targets)
    )
    return torch.as_tensor(compute_dice(predicted, true, include_background=False))


def _auroc(logits: Tensor, targets: Tensor, mask: Tensor) -> float | None:
    values = [
        auroc(targets[rows, finding].numpy(), logits[rows, finding].numpy())
        for finding, rows in enumerate(mask.T)
        if 0 < targets[rows, finding].sum() < rows.sum()
    ]
    return sum(values) / len(values) if values else None
