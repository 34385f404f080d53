"""The pieces that fusions are made of: a block of cross-attention, and the mean of the tokens that are there."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from medfuse.tensors import ModalityFeatures


class AttentionBlock(nn.Module):
    """Pre-norm cross-attention and a feed-forward block, each added to what came in.

    It starts as the identity (its last maps are zero), so that training begins from the encoders' own features.
    Time and memory grow with the product of the two numbers of tokens, and linearly in either.

    Args:
        width: Width of a token.
        heads: Attention heads; must divide `width`.
        dropout: On what each part adds.

    Source: Vaswani et al. 2017, "Attention Is All You Need".
    """

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

    def forward(
        self, own: Float[Tensor, "B N D"], other: Float[Tensor, "B M D"] | None, mask: Bool[Tensor, "B M"] | None
    ) -> Float[Tensor, "B N D"]:
        """`own` after it has looked at the unmasked tokens of `other`; without one, the feed-forward block alone."""
        if other is not None:
            own = own + self.dropout(self._attend(own, other, mask))
        fused: Tensor = own + self.dropout(self.inner(self.norm_inner(own)))
        return fused

    def _attend(
        self, own: Float[Tensor, "B N D"], other: Float[Tensor, "B M D"], mask: Bool[Tensor, "B M"] | None
    ) -> Float[Tensor, "B N D"]:
        query = self._split(self.query(self.norm_own(own)))
        key, value = (self._split(part) for part in self.key_value(self.norm_other(other)).chunk(2, dim=-1))
        seen = None if mask is None else mask[:, None, None]
        attended = scaled_dot_product_attention(query, key, value, attn_mask=seen)
        joined: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return joined

    def _split(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B H N d"]:
        split: Tensor = tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return split


def joined(features: Sequence[ModalityFeatures]) -> tuple[Float[Tensor, "B M D"], Bool[Tensor, "B M"]]:
    """The tokens of several modalities side by side, and their mask."""
    tokens = torch.cat([part.tokens for part in features], dim=1)
    return tokens, torch.cat([part.mask for part in features], dim=1)


def mean_token(features: ModalityFeatures) -> Float[Tensor, "B 1 D"]:
    """The mean of the unmasked tokens of each study."""
    mask = features.mask[..., None].to(features.tokens.dtype)
    return (features.tokens * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
