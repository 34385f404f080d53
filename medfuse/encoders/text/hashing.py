"""Words hashed into a table of embeddings: no word list, no weights to load; a baseline, and fast in tests."""

import re
import zlib
from collections.abc import Sequence

import torch
from torch import nn

from medfuse.encoders.text.base import TEXT_ENCODERS, TextEncoder
from medfuse.encoders.text.numbers import NumberEmbedding, number_values
from medfuse.tensors import ModalityFeatures, TextTokens

_WORD = re.compile(r"\d+(?:[.,]\d+)?|[^\W\d_]+|[^\w\s]")


@TEXT_ENCODERS.register("hashing")
class HashingTextEncoder(TextEncoder):
    """Each word, number or sign is a token; words share an embedding when their hashes meet.

    Args:
        width: Width of a token.
        buckets: Rows of the table.
        numbers: Read numbers by value, and not by their hash.
        max_tokens: Longer texts are cut.
        dropout: On the tokens.

    Source: Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning".
    """

    def __init__(
        self,
        width: int,
        /,
        *,
        buckets: int = 4096,
        numbers: bool = True,
        max_tokens: int = 256,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        self.buckets = buckets
        self.max_tokens = max_tokens
        self.embed = nn.Embedding(buckets + 2, width)
        self.numbers = NumberEmbedding(width) if numbers else None
        self.dropout = nn.Dropout(dropout)

    def tokenize(self, texts: Sequence[str]) -> TextTokens:
        """Words of each text, padded to the longest; row 0 of the table is padding, row 1 a number."""
        words = [list(_WORD.finditer(text))[: self.max_tokens] for text in texts]
        longest = max([1, *map(len, words)])
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        offsets = torch.zeros(len(texts), longest, 2, dtype=torch.long)
        for row, found in enumerate(words):
            for column, word in enumerate(found):
                ids[row, column] = self._row(word[0])
                offsets[row, column] = torch.tensor(word.span())
        return TextTokens(
            ids=ids,
            mask=ids > 0,
            number_values=number_values(texts, offsets),
            offsets=offsets,
            present=torch.tensor([bool(found) for found in words]),
        )

    def forward(self, tokens: TextTokens) -> ModalityFeatures:
        """Encode a batch."""
        features = self.dropout(self.embed(tokens.ids))
        if self.numbers is not None:
            features = features + self.numbers(tokens.number_values)
        return ModalityFeatures(tokens=features * tokens.mask[..., None], mask=tokens.mask, present=tokens.present)

    def _row(self, word: str) -> int:
        if self.numbers is not None and word[0].isdigit():
            return 1
        return 2 + zlib.crc32(word.casefold().encode()) % self.buckets
