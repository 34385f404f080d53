"""Loss of the findings."""

from jaxtyping import Bool, Float
from torch import Tensor, where
from torch.nn.functional import binary_cross_entropy_with_logits


def finding_loss(
    logits: Float[Tensor, "B F"],
    targets: Float[Tensor, "B F"],
    mask: Bool[Tensor, "B F"],
    prevalence: Float[Tensor, "F"] | None = None,
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy over the assessed findings; zero, with a gradient of zero, when there is none.

    Args:
        logits: One a finding.
        targets: 1 present, 0 absent.
        mask: Which were assessed.
        prevalence: Share of each finding among the training studies where it was assessed; None to weigh all alike.
    """
    losses = binary_losses(logits, targets, prevalence) * mask
    return losses.sum() / mask.sum().clamp(min=1)


def binary_losses(
    logits: Float[Tensor, "B F"], targets: Float[Tensor, "B F"], prevalence: Float[Tensor, "F"] | None = None
) -> Float[Tensor, "B F"]:
    """Binary cross-entropy of each answer.

    With `prevalence`, present and absent weigh alike in sum: each by the inverse of its share, 1 on average. Weights
    alone would raise every probability of a rare finding, by an offset of its logit that no temperature takes back; the
    logits are therefore compared shifted by that offset, and stay those of the true prevalence.

    Args:
        logits: One an answer.
        targets: 1 present, 0 absent.
        prevalence: Share of 1 among the training studies; None to weigh all alike.

    Source: Menon et al. 2021, "Long-tail learning via logit adjustment", for the offset.
    """
    weights = None
    logits = logits.float()
    if prevalence is not None:
        weights = where(targets > 0, 0.5 / prevalence, 0.5 / (1 - prevalence))
        logits = logits - prevalence.logit()
    return binary_cross_entropy_with_logits(logits, targets, weights, reduction="none")
