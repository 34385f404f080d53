"""The contract of a fusion strategy, and how it meets a modality that is not there."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from medfuse.registry import Registry
from medfuse.tensors import FusedFeatures, ModalityFeatures

FUSIONS: Registry["Fusion"] = Registry("fusion")


class Fusion(nn.Module, ABC):
    """From a mapping of modalities to the same mapping, fused.

    Attributes:
        late: Whether the findings are read out of each modality by itself and their logits averaged.
    """

    late: bool = False

    @abstractmethod
    def forward(self, modalities: Mapping[str, ModalityFeatures]) -> FusedFeatures:
        """Fuse a batch. Every study has at least one unmasked token in every modality (see `Presence`)."""


class Presence(nn.Module):
    """Makes a missing modality ordinary: a learned token stands for it, and training drops modalities at random.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.
        dropout: Probability with which a study that has several modalities loses one of them in training.
    """

    def __init__(self, modalities: Sequence[str], width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.absent = nn.ParameterDict({name: nn.Parameter(torch.randn(width) * 0.02) for name in modalities})

    def forward(self, modalities: Mapping[str, ModalityFeatures]) -> dict[str, ModalityFeatures]:
        """The modalities, each with at least one unmasked token a study."""
        present = torch.stack([features.present for features in modalities.values()])
        if self.training and self.dropout:
            present = self._drop(present)
        return {
            name: self._stand_in(features, here, self.absent[name])
            for (name, features), here in zip(modalities.items(), present, strict=True)
        }

    def _drop(self, present: Bool[Tensor, "M B"]) -> Bool[Tensor, "M B"]:
        device = present.device
        lost = torch.rand(present.shape[1], device=device) < self.dropout
        choice = torch.rand(present.shape, device=device).masked_fill(~present, -1).argmax(dim=0)
        several = present.sum(dim=0) > 1
        drop = nn.functional.one_hot(choice, len(present)).T.bool() & (lost & several)
        return present & ~drop

    @staticmethod
    def _stand_in(features: ModalityFeatures, present: Bool[Tensor, "B"], absent: Tensor) -> ModalityFeatures:
        tokens = features.tokens * present[:, None, None]
        first = torch.where(present[:, None], tokens[:, 0], absent.to(tokens.dtype))
        mask = features.mask & present[:, None]
        return replace(
            features,
            tokens=torch.cat([first[:, None], tokens[:, 1:]], dim=1),
            mask=torch.cat([(mask[:, 0] | ~present)[:, None], mask[:, 1:]], dim=1),
            present=present,
        )
