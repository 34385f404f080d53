"""Bidirectional cross-attention: every modality's tokens look at those of all the others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from medfuse.fusion.base import FUSIONS, Fusion
from medfuse.tensors import FusedFeatures, ModalityFeatures


@FUSIONS.register("cross_attention")
class CrossAttention(Fusion):
    """Layers of pre-norm cross-attention and a feed-forward block, for each modality over all the others.

    The layers start as the identity (their last maps are zero), so that training begins from the encoders' own
    features. With one modality alone only the feed-forward blocks remain.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.
        layers: Number of layers.
        heads: Attention heads; must divide `width`.
        dropout: On what each block adds.

    Source: Lu et al. 2019, "ViLBERT", section 3 (co-attention); Vaswani et al. 2017.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        /,
        *,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: _Layer(width, heads, dropout) for name in modalities}) for _ in range(layers)
        )

    def forward(self, modalities: Mapping[str, ModalityFeatures]) -> FusedFeatures:
        """Fuse a batch; all modalities of a layer see each other as they were before it."""
        fused = dict(modalities)
        for layer in self.layers:
            fused = {
                name: replace(own, tokens=layer[name](own, [fused[other] for other in fused if other != name]))  # type: ignore[index]
                for name, own in fused.items()
            }
        return FusedFeatures(modalities=fused)


class _Layer(nn.Module):
    """What one modality does in one layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_own, self.norm_other, self.norm_inner = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(dropout)
        for last in (self.out, self.inner[2]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, own: ModalityFeatures, others: Sequence[ModalityFeatures]) -> Float[Tensor, "B N D"]:
        tokens = own.tokens
        if others:
            keys = torch.cat([other.tokens for other in others], dim=1)
            mask = torch.cat([other.mask for other in others], dim=1)
            tokens = tokens + self.dropout(self._attend(tokens, keys, mask))
        tokens = tokens + self.dropout(self.inner(self.norm_inner(tokens)))
        fused: Tensor = tokens * own.mask[..., None]
        return fused

    def _attend(
        self, own: Float[Tensor, "B N D"], other: Float[Tensor, "B M D"], mask: Bool[Tensor, "B M"]
    ) -> Float[Tensor, "B N D"]:
        query = self._split(self.query(self.norm_own(own)))
        key, value = (self._split(part) for part in self.key_value(self.norm_other(other)).chunk(2, dim=-1))
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        joined: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return joined

    def _split(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B H N d"]:
        split: Tensor = tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return split
