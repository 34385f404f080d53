"""Findings: one learned query each looks over every modality and reads its answer off what it saw."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from medfuse.heads.look import REGIONS, Look, look_at, mean_of_present
from medfuse.tensors import FusedFeatures


class FindingHead(nn.Module):
    """Multi-label classification by query attention, one look at each modality and one at the measured regions.

    Each finding has a query; it looks over the tokens of each source by itself, so that five measures do not compete
    with two hundred image tokens for its attention, and what it saw is added up and read out. Keys are normalised and
    values are not: a token's size carries a number's value, which an answer may be linear in.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.
        findings: Number of findings.
        regions: Whether region tokens come too.
        heads: Attention heads of each query; must divide `width`.
        dropout: On what was seen and in the read-out.
        late: Read out each source by itself.

    Source: Liu et al. 2021, "Query2Label", for queries of labels; the separate looks are ours.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        /,
        *,
        findings: int,
        regions: bool = False,
        heads: int = 4,
        dropout: float = 0.4,
        late: bool = False,
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.late = late
        sources = (*self.modalities, REGIONS) if regions else self.modalities
        self.looks = nn.ModuleDict({source: Look(width, findings, heads) for source in sources})
        self.read_out = nn.ModuleDict(
            {source: _ReadOut(width, findings, dropout) for source in (sources if late else ("all",))}
        )

    def forward(
        self, fused: FusedFeatures, regions: Float[Tensor, "B M D"] | None, has_regions: Bool[Tensor, "B"] | None
    ) -> tuple[Float[Tensor, "B F"], dict[str, Float[Tensor, "B F N"]]]:
        """Logits, and how much each finding looked at each modality's tokens (mean over heads).

        Args:
            fused: Tokens of every modality.
            regions: Tokens of what the segmentation measures, or None.
            has_regions: Which studies have an image to measure.
        """
        seen, attention, there = look_at(self.looks, fused, regions, has_regions)
        if not self.late:
            total: Tensor = self.read_out["all"](torch.stack(list(seen.values())).sum(dim=0))
            return total, attention
        logits = {name: self.read_out[name](part) for name, part in seen.items()}
        return mean_of_present(logits, there), attention


class _ReadOut(nn.Module):
    """What each finding saw, (B, F, D) -> its logit, (B, F)."""

    def __init__(self, width: int, findings: int, dropout: float) -> None:
        super().__init__()
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

    def forward(self, seen: Float[Tensor, "B F D"]) -> Float[Tensor, "B F"]:
        thought: Tensor = seen + self.inner(seen)
        logits: Tensor = (self.dropout(thought) * self.weight).sum(dim=-1) + self.bias
        return logits
