"""Fusions that tell each token one thing: the mean of what the other modalities hold.

All of them start as the identity, so that training begins from the encoders' own features.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medfuse.fusion.attention import mean_token
from medfuse.fusion.base import FUSIONS, Fusion
from medfuse.tensors import FusedFeatures, ModalityFeatures


class PooledFusion(Fusion):
    """For each modality, a change of its tokens by the means of the others.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.
        per_modality: Numbers that each other modality gives, in widths.
    """

    def __init__(self, modalities: Sequence[str], width: int, per_modality: int) -> None:
        super().__init__()
        pairs = [(own, other) for own in modalities for other in modalities if own != other]
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in modalities})
        self.told = nn.ModuleDict({f"{other}_to_{own}": nn.Linear(width, per_modality * width) for own, other in pairs})
        for part in self.told.values():
            nn.init.zeros_(part.weight)  # type: ignore[arg-type]
            nn.init.zeros_(part.bias)  # type: ignore[arg-type]

    def forward(self, modalities: Mapping[str, ModalityFeatures]) -> FusedFeatures:
        """Fuse a batch."""
        means = {name: self.norm[name](mean_token(features)) for name, features in modalities.items()}
        fused = {}
        for name, own in modalities.items():
            told = [self.told[f"{other}_to_{name}"](means[other]) for other in modalities if other != name]
            tokens = self.change(own.tokens, torch.stack(told).sum(dim=0)) if told else own.tokens
            fused[name] = replace(own, tokens=tokens * own.mask[..., None])
        return FusedFeatures(modalities=fused)

    @abstractmethod
    def change(self, tokens: Float[Tensor, "B N D"], told: Tensor) -> Float[Tensor, "B N D"]:
        """`tokens` after what the other modalities told, shape `(B, 1, widths)`."""


@FUSIONS.register("add")
class Addition(PooledFusion):
    """Adds a linear map of the other modalities' means to every token.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.
    """

    def __init__(self, modalities: Sequence[str], width: int, /) -> None:
        super().__init__(modalities, width, 1)

    def change(self, tokens: Float[Tensor, "B N D"], told: Tensor) -> Float[Tensor, "B N D"]:
        """Add."""
        return tokens + told


@FUSIONS.register("film")
class FiLM(PooledFusion):
    """Scales and shifts every token by the other modalities' means.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.

    Source: Perez et al. 2018, "FiLM: Visual Reasoning with a General Conditioning Layer".
    """

    def __init__(self, modalities: Sequence[str], width: int, /) -> None:
        super().__init__(modalities, width, 2)

    def change(self, tokens: Float[Tensor, "B N D"], told: Tensor) -> Float[Tensor, "B N D"]:
        """Scale and shift."""
        scale, shift = told.chunk(2, dim=-1)
        return tokens * (1 + scale) + shift


@FUSIONS.register("gated")
class Gated(PooledFusion):
    """Lets a gate decide for every token and feature how much of the other modalities' means comes in.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.

    Source: Arevalo et al. 2017, "Gated Multimodal Units for Information Fusion", with the token kept beside the gate.
    """

    def __init__(self, modalities: Sequence[str], width: int, /) -> None:
        super().__init__(modalities, width, 1)
        self.gate = nn.Linear(2 * width, width)

    def change(self, tokens: Float[Tensor, "B N D"], told: Tensor) -> Float[Tensor, "B N D"]:
        """Add what the gate lets through."""
        gate = self.gate(torch.cat([tokens, told.expand_as(tokens)], dim=-1)).sigmoid()
        opened: Tensor = tokens + gate * told
        return opened
