"""The contract of a text encoder."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from medfuse.registry import Registry
from medfuse.tensors import ModalityFeatures, TextTokens

TEXT_ENCODERS: Registry["TextEncoder"] = Registry("text encoder")


class TextEncoder(nn.Module, ABC):
    """From texts to tokens, in two steps: `tokenize` on the way into a batch, `forward` in the network."""

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> TextTokens:
        """Sub-words of each text; an empty text comes back as absent."""

    @abstractmethod
    def forward(self, tokens: TextTokens) -> ModalityFeatures:
        """Encode a batch; one output token a sub-word, in the same order."""
