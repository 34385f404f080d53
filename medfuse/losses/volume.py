"""Loss of the segments' volumes."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from medfuse.tensors import IGNORED, segment_masks, segment_probabilities

FLOOR_VOXELS = 20
"""Added to both volumes, so that a segment of a few voxels does not dominate."""


def volume_loss(
    logits: Float[Tensor, "B S1 I J K"],
    targets: Int[Tensor, "B I J K"],
    mask: Bool[Tensor, "B"],
    overlapping: bool = False,
) -> Float[Tensor, ""]:
    """Mean absolute error of the logarithm of each segment's soft volume, over the studies that have a true mask.

    Dice forgives a boundary that is shifted the same way in every study; a volume that a finding depends on does not.
    Voxels that are `IGNORED` belong to neither volume.
    """
    if not mask.any():
        return logits.float().sum() * 0
    truth = targets[mask]
    soft = segment_probabilities(logits[mask], overlapping) * (truth != IGNORED)[:, None]
    predicted = soft.sum(dim=(2, 3, 4))
    true = segment_masks(truth, soft.shape[1], overlapping).sum(dim=(2, 3, 4))
    return ((predicted + FLOOR_VOXELS) / (true + FLOOR_VOXELS)).log().abs().mean()
