"""A recurrent encoder: small, trained from nothing, for texts that no pre-trained encoder knows."""

from collections.abc import Sequence
from typing import Literal

from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from medfuse.encoders.text.base import TEXT_ENCODERS, TextEncoder
from medfuse.encoders.text.numbers import NumberEmbedding
from medfuse.encoders.text.subwords import load_tokenizer, sub_words
from medfuse.tensors import ModalityFeatures, TextTokens


@TEXT_ENCODERS.register("recurrent")
class RecurrentTextEncoder(TextEncoder):
    """Learned embeddings of sub-words and a GRU or LSTM that reads both ways.

    Args:
        width: Width of a token; even.
        weights: Whose word list is used, as for `transformer`; its weights are not.
        cell: Kind of recurrent cell.
        layers: Recurrent layers.
        embedding: Width of a sub-word's embedding.
        numbers: Read numbers by value.
        max_tokens: Longer texts are cut.
        dropout: On embeddings and on the tokens.

    Raises:
        ConfigError: The word list cannot be loaded.

    Source: Cho et al. 2014 (GRU); Hochreiter and Schmidhuber 1997 (LSTM); Schuster and Paliwal 1997 (both ways).
    """

    def __init__(
        self,
        width: int,
        /,
        *,
        weights: str = "minilm",
        cell: Literal["gru", "lstm"] = "gru",
        layers: int = 1,
        embedding: int = 64,
        numbers: bool = True,
        max_tokens: int = 256,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        self.max_tokens = max_tokens
        self._tokenizer = load_tokenizer(weights)
        self.embed = nn.Embedding(len(self._tokenizer), embedding)
        self.numbers_in, self.numbers_out = (NumberEmbedding(size) if numbers else None for size in (embedding, width))
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.cells = kind(embedding, width // 2, layers, batch_first=True, bidirectional=True)
        self.project = nn.Linear(2 * (width // 2), width)
        self.dropout = nn.Dropout(dropout)

    def tokenize(self, texts: Sequence[str]) -> TextTokens:
        """Sub-words of each text, padded to the longest."""
        return sub_words(self._tokenizer, texts, self.max_tokens)

    def forward(self, tokens: TextTokens) -> ModalityFeatures:
        """Encode a batch."""
        embedded = self.embed(tokens.ids)
        if self.numbers_in is not None:
            embedded = embedded + self.numbers_in(tokens.number_values)
        lengths = tokens.mask.sum(dim=1).clamp(min=1).cpu()
        packed = pack_padded_sequence(self.dropout(embedded), lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.cells(packed)[0], batch_first=True, total_length=tokens.ids.shape[1])
        features = self.dropout(self.project(hidden))
        if self.numbers_out is not None:
            features = features + self.numbers_out(tokens.number_values)
        return ModalityFeatures(tokens=features * tokens.mask[..., None], mask=tokens.mask, present=tokens.present)
