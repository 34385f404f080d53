"""The sum of the losses, with weights that are given or learned."""

import math
from typing import Generic, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medfuse.losses.findings import finding_loss
from medfuse.losses.segmentation import SegmentationLoss, SegmentLoss
from medfuse.losses.volume import volume_loss
from medfuse.tensors import Batch, ModelOutput


@runtime_checkable
class LossWeights(Protocol):
    """What a run says of its losses; `medfuse.training.TrainingOptions` does."""

    @property
    def finding_weight(self) -> float:
        """Weight of the findings' loss."""

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
        """Whether the first two weights are where learning starts."""


Options = TypeVar("Options", bound=LossWeights)


class Criterion(nn.Module, Generic[Options]):
    """The weighted sum of the losses of findings and segments.

    Learned weights follow the uncertainty of each task: a loss L with log variance s counts exp(-s) L + s / 2, and s is
    a parameter for the optimiser, saved and resumed with it. They start at the fixed weights. A task whose labels
    no study of a batch has leaves its s alone. Out of training mode (`eval`) the sum is the one with the fixed
    weights, so that epochs can be compared.

    Args:
        options: The weights.
        prevalence: Of each finding in the training set, shape `(F,)`, to balance present and absent; None for not.

    Source: Kendall et al. 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses".
    """

    prevalence: Tensor | None
    log_variances: Tensor | None

    def __init__(self, options: Options, prevalence: Tensor | None = None) -> None:
        super().__init__()
        self.options = options
        self.segmentation = SegmentationLoss(options.segment_loss)
        self.register_buffer("prevalence", prevalence, persistent=False)
        weights = (options.finding_weight, options.segment_weight)
        start = [-math.log(weight) if weight > 0 else 0.0 for weight in weights]
        learned = options.task_weights == "learned"
        self.register_parameter("log_variances", nn.Parameter(torch.tensor(start)) if learned else None)

    def forward(self, output: ModelOutput, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Total, findings, segments (volumes included)."""
        zero = batch.voxel_volume_ml.new_zeros(())
        findings = segments = zero
        if output.finding_logits.shape[1]:
            findings = finding_loss(output.finding_logits, batch.finding_targets, batch.finding_mask, self.prevalence)
        if output.segment_logits is not None:
            truth = (output.segment_logits, batch.segment_targets, batch.segment_mask)
            segments = self._levels(output, batch) + self.options.volume_weight * volume_loss(*truth)
        return self._total(findings, segments, batch, output.segment_logits is not None), findings, segments

    def _total(self, findings: Tensor, segments: Tensor, batch: Batch, has_segments: bool) -> Tensor:
        options = self.options
        if self.log_variances is None or not self.training:
            return options.finding_weight * findings + options.segment_weight * segments
        taught = torch.stack(
            [
                batch.finding_mask.any() & (options.finding_weight > 0),
                batch.segment_mask.any() & (has_segments and options.segment_weight > 0),
            ]
        )
        losses = torch.stack([findings, segments])
        return (((-self.log_variances).exp() * losses + self.log_variances / 2) * taught).sum()

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
