"""Loss of the findings."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def finding_loss(
    logits: Float[Tensor, "B F"], targets: Float[Tensor, "B F"], mask: Bool[Tensor, "B F"]
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy over the assessed findings; zero, with a gradient of zero, when there is none."""
    losses = binary_cross_entropy_with_logits(logits.float(), targets, reduction="none") * mask
    return losses.sum() / mask.sum().clamp(min=1)
