"""Loss of the targets."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, huber_loss

from medfuse.domain.labels import Target, TargetKind
from medfuse.losses.findings import binary_losses


class TargetLoss(nn.Module):
    """Mean loss over the targets that are known, whatever their kind; zero, with a gradient of zero, when none is.

    A class costs its cross-entropy; a grade the mean binary cross-entropy of "above grade k" over its thresholds; a
    number Huber's loss of the error in standard deviations of the training set, quadratic below one and linear above.
    One target that a study lacks costs nothing.

    With `shares`, every class weighs alike in sum, and so do "above" and "not above" at each threshold, while the
    outputs stay those of the true frequencies (see `binary_losses`).

    Args:
        targets: In the order of the label set.
        deviation: Standard deviation of each number in the training set, shape `(T,)`; 1 elsewhere.
        shares: Target -> share of each class or grade in the training set, shape `(C,)`; None to weigh all alike.

    Source: Cao, Mirjalili and Raschka 2020, "Rank consistent ordinal regression" (grades); Huber 1964, "Robust
    estimation of a location parameter"; Menon et al. 2021, "Long-tail learning via logit adjustment".
    """

    deviation: Tensor

    def __init__(
        self,
        targets: Sequence[Target],
        deviation: Float[Tensor, "T"],
        shares: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.targets = tuple(targets)
        self.shares = dict(shares or {})
        self.register_buffer("deviation", deviation.clone(), persistent=False)

    def forward(
        self, outputs: Mapping[str, Tensor], values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, ""]:
        """The loss.

        Args:
            outputs: Of the network, by target.
            values: Positions of classes and grades, numbers as they are; anything where masked.
            mask: Which are known.
        """
        total = values.new_zeros(())
        for position, target in enumerate(self.targets):
            known = mask[:, position]
            losses = self._losses(position, outputs[target.name].float(), values[:, position] * known)
            total = total + (losses * known).sum()
        return total / mask.sum().clamp(min=1)

    def _losses(self, position: int, outputs: Float[Tensor, "B K"], values: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
        target = self.targets[position]
        shares = self.shares.get(target.name)
        shares = None if shares is None else shares.to(outputs.device)
        if target.kind is TargetKind.NUMBER:
            return _number_losses(outputs[:, 0], values, self.deviation[position])
        if target.kind is TargetKind.CLASSES:
            return _class_losses(outputs, values.long(), shares)
        return _grade_losses(outputs, values, shares)


def _number_losses(outputs: Tensor, values: Tensor, deviation: Tensor) -> Tensor:
    return huber_loss(outputs / deviation, values / deviation, reduction="none")


def _class_losses(outputs: Tensor, values: Tensor, shares: Tensor | None) -> Tensor:
    if shares is None:
        return cross_entropy(outputs, values, reduction="none")
    losses = cross_entropy(outputs - shares.log(), values, reduction="none")
    return losses / (len(shares) * shares[values])


def _grade_losses(outputs: Tensor, values: Tensor, shares: Tensor | None) -> Tensor:
    """The mean over the thresholds, one study at a time."""
    thresholds = torch.arange(outputs.shape[1], device=outputs.device)
    above = (values[:, None] > thresholds).to(outputs.dtype)
    frequency = None
    if shares is not None:
        rarest = shares.min()
        frequency = (1 - shares.cumsum(dim=0)[:-1]).clamp(rarest, 1 - rarest)
    return binary_losses(outputs, above, frequency).mean(dim=1)
