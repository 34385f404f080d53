"""Fusions through a few learned tokens, so that the cost stays linear in the tokens of every modality."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from medfuse.fusion.attention import AttentionBlock, joined
from medfuse.fusion.base import FUSIONS, Fusion
from medfuse.tensors import FusedFeatures, ModalityFeatures


@FUSIONS.register("bottleneck")
class Bottleneck(Fusion):
    """A few tokens carry all that passes between the modalities.

    In each layer the bottleneck looks at each modality by itself and takes the mean of what it saw; then each modality
    looks at the bottleneck.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.
        count: Number of bottleneck tokens.
        layers: Number of layers.
        heads: Attention heads; must divide `width`.
        dropout: On what each block adds.

    Source: Nagrani et al. 2021, "Attention Bottlenecks for Multimodal Fusion", with the self-attention over a
    modality's own tokens left to its encoder.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        /,
        *,
        count: int = 4,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(count, width) * 0.02)
        self.read, self.write = (
            nn.ModuleList(
                nn.ModuleDict({name: AttentionBlock(width, heads, dropout) for name in modalities})
                for _ in range(layers)
            )
            for _ in range(2)
        )

    def forward(self, modalities: Mapping[str, ModalityFeatures]) -> FusedFeatures:
        """Fuse a batch."""
        fused = dict(modalities)
        batch = len(next(iter(fused.values())).tokens)
        narrow = self.tokens.expand(batch, -1, -1)
        for read, write in zip(self.read, self.write, strict=True):
            seen = [read[name](narrow, own.tokens, own.mask) for name, own in fused.items()]  # type: ignore[index]
            narrow = torch.stack(seen).mean(dim=0)
            fused = {
                name: replace(own, tokens=write[name](own.tokens, narrow, None) * own.mask[..., None])  # type: ignore[index]
                for name, own in fused.items()
            }
        return FusedFeatures(modalities=fused)


@FUSIONS.register("perceiver")
class PerceiverLatents(Fusion):
    """Latents look at the tokens of all modalities, think among themselves, and each token looks back at them.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.
        count: Number of latents.
        layers: Blocks of self-attention over the latents.
        heads: Attention heads; must divide `width`.
        dropout: On what each block adds.

    Source: Jaegle et al. 2022, "Perceiver IO".
    """

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        /,
        *,
        count: int = 16,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(count, width) * 0.02)
        self.read = AttentionBlock(width, heads, dropout)
        self.think = nn.ModuleList(AttentionBlock(width, heads, dropout) for _ in range(layers))
        self.write = nn.ModuleDict({name: AttentionBlock(width, heads, dropout) for name in modalities})

    def forward(self, modalities: Mapping[str, ModalityFeatures]) -> FusedFeatures:
        """Fuse a batch."""
        tokens, mask = joined(list(modalities.values()))
        latents = self.read(self.latents.expand(len(tokens), -1, -1), tokens, mask)
        for block in self.think:
            latents = block(latents, latents, None)
        return FusedFeatures(
            modalities={
                name: replace(own, tokens=self.write[name](own.tokens, latents, None) * own.mask[..., None])
                for name, own in modalities.items()
            }
        )
