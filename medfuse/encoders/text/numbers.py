"""Numbers in text, read by value and not by spelling."""

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_PLAIN = r"\d+(?:\.\d+|,\d{1,2}(?!\d))?"
NUMBER = re.compile(rf"({_PLAIN})(?=((?:\s*[x×*]\s*{_PLAIN}){{0,2}}\s*(?:cm|centimet(?:er|re)s?)\b)?)", re.IGNORECASE)
"""A number, with a decimal point or comma, and behind it, when it is a length in cm, the rest up to the unit."""

EDGES = (0, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 150, 200, 500, 1000)
"""Bins of the piecewise-linear code: fine where ages, scores and sizes in mm lie."""


def number_values(texts: Sequence[str], offsets: Int[Tensor, "B W 2"]) -> Float[Tensor, "B W"]:
    """The number that each token is a part of, NaN where it is none; lengths in cm count in mm.

    Args:
        texts: One text a row.
        offsets: First and last-plus-one character of each token; equal for special tokens and padding.
    """
    values = torch.full(offsets.shape[:2], float("nan"))
    for row, text in enumerate(texts):
        starts, ends = offsets[row, :, 0], offsets[row, :, 1]
        for match in NUMBER.finditer(text):
            inside = (ends > starts) & (starts >= match.start()) & (ends <= match.end())
            values[row, inside] = float(match[1].replace(",", ".")) * (10 if match[2] else 1)
    return values


class NumberEmbedding(nn.Module):
    """Adds to the embedding of a number's token what its value says.

    A value becomes a piecewise-linear code over fixed bins, which a linear map turns into an embedding: so any
    piecewise-linear function of the value is one linear read-out away, and 74 lies between 73 and 75. With it go
    the centred value and its logarithm. Tokens that are no number get nothing.

    Args:
        width: Width of a token.

    Source: Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning", section 3.1.
    """

    edges: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("edges", torch.tensor(EDGES, dtype=torch.float32), persistent=False)
        self.embed = nn.Linear(len(EDGES) + 1, width)

    def forward(self, values: Float[Tensor, "B W"]) -> Float[Tensor, "B W D"]:
        """Embeddings of the values; zero where a value is NaN."""
        is_number = ~values.isnan()
        known = values.nan_to_num().clamp(0, EDGES[-1])
        embedded: Tensor = self.embed(self._code(known))
        return embedded * is_number[..., None]

    def _code(self, values: Float[Tensor, "B W"]) -> Float[Tensor, "B W E"]:
        low, high = self.edges[:-1], self.edges[1:]
        bins = ((values[..., None] - low) / (high - low)).clamp(0, 1)
        centred = ((values - 50) / 25).clamp(-3, 3)
        return torch.cat([bins, centred[..., None], torch.log1p(values)[..., None] / 5], dim=-1)
