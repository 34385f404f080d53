"""Loss of the segmentation."""

from jaxtyping import Bool, Float, Int
from monai.losses import DiceCELoss
from torch import Tensor, nn


class SegmentationLoss(nn.Module):
    """Dice over the batch plus cross-entropy, over the studies that have a true mask.

    Source: Isensee et al. 2021, "nnU-Net"; MONAI's `DiceCELoss`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)

    def forward(
        self, logits: Float[Tensor, "B S1 I J K"], targets: Int[Tensor, "B I J K"], mask: Bool[Tensor, "B"]
    ) -> Float[Tensor, ""]:
        """The loss; zero, with a gradient of zero, when no study of the batch has a mask."""
        if not mask.any():
            return logits.float().sum() * 0
        return self.loss(logits[mask].float(), targets[mask][:, None])  # type: ignore[no-any-return]
