"""The contract of an engine: what runs a network over batches of windows."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from medfuse.model import FusionNetwork
from medfuse.registry import Registry
from medfuse.tensors import Batch, ModalityFeatures, ModelOutput, TextTokens

Precision = Literal["fp32", "bf16"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]
Encoded = Mapping[str, ModalityFeatures]
Window = tuple[int, int, int]

ENGINES: Registry["Engine"] = Registry("engine")
"""Engines by name; each is made of a network and the size of its windows, with a `precision`."""


class Engine(ABC):
    """Runs a network. The text of a study is encoded once, by `encode`, and serves all of its windows.

    Args:
        network: In evaluation mode; on the device where it runs.

    Attributes:
        name: As it stands in the registry.
        precision: Of the products in convolutions and linear maps; sums and norms may be finer.
        precisions: Those that it has.
        packages: Optional packages that it needs.
    """

    name: str
    precision: Precision
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "bf16")
    packages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, network: FusionNetwork) -> None:
        self.network = network.eval()

    @property
    def delineates(self) -> bool:
        """Whether the network gives class scores of voxels."""
        return self.network.segmentation is not None

    def tokenize(self, texts: Sequence[str]) -> TextTokens:
        """Texts as the network's text encoder takes them; one masked token each for a network that reads none."""
        from medfuse.data.collate import no_text

        encoder = self.network.text_encoder
        return no_text(len(texts)) if encoder is None else encoder.tokenize(texts)

    @abstractmethod
    def encode(self, tokens: TextTokens) -> Encoded:
        """Features of the text of one study, one row; empty for a network that reads none."""

    def ready(self, batch: Batch, encoded: Encoded) -> None:  # noqa: B027 - most engines need nothing
        """Get ready for windows like these, before the first of a study runs; nothing for most engines.

        Args:
            batch: One window, with what is worth seeing in it.
            encoded: What `encode` gave for the study.
        """

    @abstractmethod
    def run(self, batch: Batch, encoded: Encoded | None = None) -> ModelOutput:
        """Answer a batch.

        Args:
            batch: On any device.
            encoded: What `encode` gave for the study; left out, the text of each row is encoded.

        Returns:
            The answer, float32.
        """
