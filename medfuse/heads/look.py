"""How a head looks at what it is given: learned queries over the tokens of each source by itself."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from medfuse.tensors import FusedFeatures

REGIONS = "regions"
"""The source that is no modality: what the segmentation measures."""

Seen = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]


class Look(nn.Module):
    """The queries' attention over the tokens of one source.

    Keys are normalised and values are not: a token's size carries a number's value, which an answer may be linear in.

    Args:
        width: Width of a token.
        queries: Number of queries.
        heads: Attention heads of each; must divide `width`.
    """

    def __init__(self, width: int, queries: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(queries, heads, width // heads) * 0.1)
        self.norm = nn.LayerNorm(width)
        self.key, self.value, self.join = (nn.Linear(width, width) for _ in range(3))

    def forward(self, tokens: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> tuple[Tensor, Tensor]:
        """What each query saw, (B, F, D), and its attention, (B, F, N)."""
        key = self.key(self.norm(tokens)).unflatten(-1, (self.heads, -1))
        value = self.value(tokens).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("fhd,bnhd->bfhn", self.query * 4, key) * key.shape[-1] ** -0.5
        attention = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(dim=-1)
        seen = torch.einsum("bfhn,bnhd->bfhd", attention, value).flatten(2)
        return self.join(seen), attention.mean(dim=2)


def look_at(
    looks: nn.ModuleDict,
    fused: FusedFeatures,
    regions: Float[Tensor, "B M D"] | None,
    has_regions: Bool[Tensor, "B"] | None,
) -> Seen:
    """What the queries see in each source.

    Args:
        looks: A `Look` for each modality, and for `REGIONS` where they come too.
        fused: Tokens of every modality.
        regions: Tokens of what the segmentation measures, or None.
        has_regions: Which studies have an image to measure.

    Returns:
        By source: what was seen, (B, F, D); the attention to each modality's tokens, (B, F, N); which studies have the
        source, (B,).
    """
    seen: dict[str, Tensor] = {}
    attention: dict[str, Tensor] = {}
    there: dict[str, Tensor] = {}
    for name in looks:
        if name != REGIONS:
            features = fused.modalities[name]
            seen[name], attention[name] = looks[name](features.tokens.float(), features.mask)
            there[name] = features.present
    if regions is not None and has_regions is not None:
        part, _ = looks[REGIONS](regions, torch.ones_like(regions[..., 0], dtype=torch.bool))
        seen[REGIONS], there[REGIONS] = part * has_regions[:, None, None], has_regions
    return seen, attention, there


def mean_of_present(answers: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> Tensor:
    """The mean of the sources' answers, (B, F), over the sources that each study has; zero for a study without any."""
    every = torch.stack(list(answers.values()))
    weights = torch.stack(list(there.values())).to(every.dtype)[..., None]
    return (every * weights).sum(dim=0) / weights.sum(dim=0).clamp(min=1)
