"""Loss of the segmentation."""

from typing import Literal

from jaxtyping import Bool, Float, Int
from monai.losses import DiceLoss, FocalLoss
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from medfuse.tensors import IGNORED, segment_masks

SegmentLoss = Literal["dice_ce", "dice_focal"]


class SegmentationLoss(nn.Module):
    """Dice over the batch plus a voxel-wise loss, over the studies that have a true mask.

    Voxels that are `IGNORED` take no part in either. Segments that overlap are each told from the rest by a sigmoid.

    Args:
        kind: `dice_ce` adds the cross-entropy; `dice_focal` the focal loss, in which voxels that are answered well
            weigh little, for segments of few voxels.
        gamma: How little, for the focal loss; 0 would be the cross-entropy.
        overlapping: Whether a voxel may belong to several segments, whose scores then come without a background's.

    Source: Isensee et al. 2021, "nnU-Net"; Lin et al. 2017, "Focal Loss for Dense Object Detection"; MONAI's `DiceLoss`
    and `FocalLoss`. MONAI's `DiceFocalLoss` is the same sum with a sigmoid in its focal part, which would leave the
    background's score to Dice alone, where scoring takes a softmax over it.
    """

    def __init__(self, kind: SegmentLoss = "dice_ce", *, gamma: float = 2.0, overlapping: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.overlapping = overlapping
        self.dice = DiceLoss(include_background=overlapping, batch=True)
        self.focal = FocalLoss(use_softmax=not overlapping, gamma=gamma, reduction="none")

    def forward(
        self, logits: Float[Tensor, "B S1 I J K"], targets: Int[Tensor, "B I J K"], mask: Bool[Tensor, "B"]
    ) -> Float[Tensor, ""]:
        """The loss; zero, with a gradient of zero, when no study of the batch has a mask."""
        known = (targets != IGNORED) & mask[:, None, None, None]
        if not known.any():
            return logits.float().sum() * 0
        scores, truth, known = logits[mask].float(), targets[mask], known[mask][:, None]
        if self.overlapping:
            return self._overlapping(scores, truth, known)
        classes = one_hot(truth * known[:, 0], scores.shape[1]).movedim(-1, 1).to(scores.dtype)
        dice: Tensor = self.dice(scores.softmax(dim=1) * known, classes * known)
        if self.kind == "dice_ce":
            return dice + cross_entropy(scores, truth, ignore_index=IGNORED)
        focal: Tensor = self.focal(scores, classes)
        return dice + (focal * known).sum() / known.sum()

    def _overlapping(self, scores: Tensor, truth: Tensor, known: Tensor) -> Tensor:
        masks = segment_masks(truth, scores.shape[1], True).to(scores.dtype)
        dice: Tensor = self.dice(scores.sigmoid() * known, masks)
        binary = binary_cross_entropy_with_logits(scores, masks, reduction="none")
        losses: Tensor = binary if self.kind == "dice_ce" else self.focal(scores, masks)
        return dice + (losses * known).sum() / (known.sum() * scores.shape[1])
