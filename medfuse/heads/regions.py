"""What a segmentation measures, as tokens for the findings: volumes, their total, and their shares."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from medfuse.tensors import segment_masks, segment_probabilities

SMALLEST_ML = 1e-3
"""Volumes are floored here before the logarithm: 1 mm3."""


class RegionMeasures(nn.Module):
    """Turns the volumes of the segments into tokens.

    The measures are the logarithm of each segment's volume and, for several segments, of their total, and each
    one's share of it, standardised by their mean and deviation over the training set's true masks (`fit`), which
    travel in the checkpoint. In training the measures come from the true mask of half of the studies, with noise,
    so that the head learns from good volumes while the segmentation is still poor. No gradient goes back from a
    finding into the segmentation through them.

    Args:
        segments: Number of segments, at least 1.
        width: Width of a token.
        truth_share: Share of training studies that are measured on their true mask.
        noise: Relative deviation of the noise on volumes in training.
        overlapping: Whether a voxel may belong to several segments; it then counts for each of them.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        segments: int,
        width: int,
        /,
        *,
        truth_share: float = 0.5,
        noise: float = 0.02,
        overlapping: bool = False,
    ) -> None:
        super().__init__()
        self.overlapping = overlapping
        self.segments = segments
        self.truth_share = truth_share
        self.noise = noise
        count = segments if segments == 1 else 2 * segments + 1
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))
        self.scale = nn.Parameter(torch.randn(count, width) * 0.1)
        self.shift = nn.Parameter(torch.randn(count, width) * 0.1)

    def fit(self, volumes_ml: Float[Tensor, "n S"]) -> None:
        """Set the mean and deviation of the measures from true volumes of the training set."""
        measures = self._measures(volumes_ml)
        self.mean.copy_(measures.mean(dim=0))
        self.deviation.copy_(measures.std(dim=0, correction=0).clamp(min=1e-3))

    def forward(
        self,
        segment_logits: Float[Tensor, "B S1 I J K"],
        voxel_volume_ml: Float[Tensor, "B"],
        truth: Tensor,
        has_truth: Bool[Tensor, "B"],
    ) -> Float[Tensor, "B M D"]:
        """Tokens of the measures.

        Args:
            segment_logits: Class scores.
            voxel_volume_ml: Volume of a voxel.
            truth: Label map, shape (B, I, J, K); read in training alone.
            has_truth: Which label maps are truth.
        """
        volumes = self.volumes_ml(segment_logits, voxel_volume_ml)
        if self.training:
            true = segment_masks(truth, self.segments, self.overlapping).sum(dim=(2, 3, 4))
            use = has_truth & (torch.rand(len(volumes), device=volumes.device) < self.truth_share)
            volumes = torch.where(use[:, None], true * voxel_volume_ml[:, None], volumes)
            volumes = volumes * (1 + self.noise * torch.randn_like(volumes))
        standard = ((self._measures(volumes) - self.mean) / self.deviation).clamp(-4, 4)
        return standard[..., None] * self.scale + self.shift

    def volumes_ml(
        self, segment_logits: Float[Tensor, "B S1 I J K"], voxel_volume_ml: Float[Tensor, "B"]
    ) -> Float[Tensor, "B S"]:
        """Volume of each predicted segment in millilitres, softly counted, without gradient."""
        soft = segment_probabilities(segment_logits.detach(), self.overlapping)
        return soft.sum(dim=(2, 3, 4)) * voxel_volume_ml[:, None]

    def _measures(self, volumes_ml: Float[Tensor, "n S"]) -> Float[Tensor, "n M"]:
        volumes = volumes_ml.clamp(min=SMALLEST_ML)
        if self.segments == 1:
            return volumes.log()
        total = volumes.sum(dim=1, keepdim=True)
        return torch.cat([volumes.log(), total.log(), volumes / total], dim=1)
