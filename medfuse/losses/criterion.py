"""The sum of the losses, with weights that are given or learned."""

import math
from collections.abc import Sequence
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medfuse.losses.findings import finding_loss
from medfuse.losses.segmentation import SegmentationLoss, SegmentLoss
from medfuse.losses.targets import TargetLoss
from medfuse.losses.volume import volume_loss
from medfuse.tensors import Batch, ModelOutput


@runtime_checkable
class LossWeights(Protocol):
    """What a run says of its losses; `medfuse.training.TrainingOptions` does."""

    @property
    def finding_weight(self) -> float:
        """Weight of the findings' loss."""

    @property
    def target_weight(self) -> float:
        """Weight of the targets' loss."""

    @property
    def segment_weight(self) -> float:
        """Weight of the segmentation's loss."""

    @property
    def volume_weight(self) -> float:
        """Weight, within it, of the error of the segments' volumes."""

    @property
    def segment_loss(self) -> SegmentLoss:
        """What is added to Dice."""

    @property
    def task_weights(self) -> Literal["fixed", "learned"]:
        """Whether the weights of the tasks are where learning starts."""


class TaskLosses(NamedTuple):
    """What a batch costs: the weighted sum, and each task; one that the model lacks is zero."""

    total: Tensor
    findings: Tensor
    segments: Tensor
    targets: Tensor


Options = TypeVar("Options", bound=LossWeights)


class Criterion(nn.Module, Generic[Options]):
    """The weighted sum of the losses of findings, segments and targets.

    Learned weights follow the uncertainty of each task: a loss L with log variance s counts exp(-s) L + s / 2, and s is
    a parameter for the optimiser, saved and resumed with it. They start at the fixed weights. A task whose labels
    no study of a batch has leaves its s alone. Out of training mode (`eval`) the sum is the one with the fixed
    weights, so that epochs can be compared.

    Args:
        options: The weights.
        prevalence: Of each finding in the training set, shape `(F,)`, to balance present and absent; None for not.
        targets: The targets' loss; None for a model without targets.
        overlapping: Whether segments may overlap.

    Source: Kendall et al. 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses".
    """

    prevalence: Tensor | None
    log_variances: Tensor | None

    def __init__(
        self,
        options: Options,
        prevalence: Tensor | None = None,
        targets: TargetLoss | None = None,
        *,
        overlapping: bool = False,
    ) -> None:
        super().__init__()
        self.options = options
        self.overlapping = overlapping
        self.segmentation = SegmentationLoss(options.segment_loss, overlapping=overlapping)
        self.targets = targets
        self.register_buffer("prevalence", prevalence, persistent=False)
        weights = [options.finding_weight, options.segment_weight]
        if targets is not None:
            weights.append(options.target_weight)
        self._weights = tuple(weights)
        start = [-math.log(weight) if weight > 0 else 0.0 for weight in weights]
        learned = options.task_weights == "learned"
        self.register_parameter("log_variances", nn.Parameter(torch.tensor(start)) if learned else None)

    def forward(self, output: ModelOutput, batch: Batch) -> TaskLosses:
        """The losses of a batch; that of the segments includes their volumes."""
        findings = segments = targets = batch.voxel_volume_ml.new_zeros(())
        if output.finding_logits.shape[1]:
            findings = finding_loss(output.finding_logits, batch.finding_targets, batch.finding_mask, self.prevalence)
        if output.segment_logits is not None:
            truth = (output.segment_logits, batch.segment_targets, batch.segment_mask)
            segments = self._levels(output, batch) + self.options.volume_weight * volume_loss(*truth, self.overlapping)
        taught = [batch.finding_mask.any(), batch.segment_mask.any() & (output.segment_logits is not None)]
        losses = [findings, segments]
        if self.targets is not None:
            targets = self.targets(output.target_outputs, batch.target_values, batch.target_mask)
            taught.append(batch.target_mask.any())
            losses.append(targets)
        total = self._total(losses, taught)
        return TaskLosses(total=total, findings=findings, segments=segments, targets=targets)

    def _total(self, losses: Sequence[Tensor], taught: Sequence[Tensor]) -> Tensor:
        """The weighted sum of the tasks' losses; `taught` says which of them have labels in the batch."""
        if self.log_variances is None or not self.training:
            weighted = [weight * loss for weight, loss in zip(self._weights, losses, strict=True)]
            return torch.stack(weighted).sum()
        counts = torch.stack([has & (weight > 0) for has, weight in zip(taught, self._weights, strict=True)])
        return (((-self.log_variances).exp() * torch.stack(list(losses)) + self.log_variances / 2) * counts).sum()

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


def _at(truth: Tensor, logits: Tensor) -> Tensor:
    """A label map on the grid of `logits`, nearest neighbour."""
    if truth.shape[1:] == logits.shape[2:]:
        return truth
    return interpolate(truth[:, None].float(), size=logits.shape[2:], mode="nearest-exact")[:, 0].long()
