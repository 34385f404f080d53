"""Findings: one learned query each, which looks over all tokens and reads its answer off what it saw."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from medfuse.tensors import FusedFeatures

Looked = tuple[Tensor, Tensor]


class FindingHead(nn.Module):
    """Multi-label classification by query attention.

    Keys are normalised and values are not: a token's size carries a number's value, which the answer is linear in.

    Args:
        modalities: Names of the modalities, in the order in which their tokens are laid side by side.
        width: Width of a token.
        findings: Number of findings.
        heads: Attention heads of each query; must divide `width`.
        dropout: On the features and the answer.

    Source: Liu et al. 2021, "Query2Label"; the read-out without decoder layers is ours.
    """

    def __init__(
        self, modalities: Sequence[str], width: int, /, *, findings: int, heads: int = 4, dropout: float = 0.4
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.heads = heads
        self.query = nn.Parameter(torch.randn(findings, heads, width // heads) * 0.1)
        self.key_norm = nn.LayerNorm(width)
        self.key, self.value, self.join = (nn.Linear(width, width) for _ in range(3))
        self.inner = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Parameter(torch.randn(findings, width) * 0.05)
        self.bias = nn.Parameter(torch.zeros(findings))

    def forward(
        self, fused: FusedFeatures, regions: Float[Tensor, "B M D"] | None, has_regions: Bool[Tensor, "B"] | None
    ) -> tuple[Float[Tensor, "B F"], dict[str, Float[Tensor, "B F N"]]]:
        """Logits, and how much each finding looked at each modality's tokens (mean over heads).

        Args:
            fused: Tokens of every modality.
            regions: Tokens of what the segmentation measures, or None.
            has_regions: Which studies have an image to measure.
        """
        tokens = [fused.modalities[name].tokens.float() for name in self.modalities]
        masks = [fused.modalities[name].mask for name in self.modalities]
        sizes = [part.shape[1] for part in tokens]
        if regions is not None and has_regions is not None:
            tokens.append(regions)
            masks.append(has_regions[:, None].expand(-1, regions.shape[1]))
        seen, attention = self._look(torch.cat(tokens, dim=1), torch.cat(masks, dim=1))
        seen = seen + self.inner(seen)
        logits = (self.dropout(seen) * self.weight).sum(dim=-1) + self.bias
        parts = attention[..., : sum(sizes)].split(sizes, dim=-1)
        return logits, dict(zip(self.modalities, parts, strict=True))

    def _look(self, tokens: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> Looked:
        key = self.key(self.key_norm(tokens)).unflatten(-1, (self.heads, -1))
        value = self.value(tokens).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("fhd,bnhd->bfhn", self.query * 4, key) * key.shape[-1] ** -0.5
        attention = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(dim=-1)
        seen = torch.einsum("bfhn,bnhd->bfhd", attention, value).flatten(2)
        return self.join(seen), attention.mean(dim=2)
