"""Concatenation: the modalities meet in the heads alone. The baseline that a better fusion has to beat."""

from collections.abc import Mapping, Sequence

from medfuse.fusion.base import FUSIONS, Fusion
from medfuse.tensors import FusedFeatures, ModalityFeatures


@FUSIONS.register("concat")
class Concatenation(Fusion):
    """Passes every modality's tokens on as they are; a head reads all of them side by side.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.
    """

    def __init__(self, modalities: Sequence[str], width: int, /) -> None:
        super().__init__()

    def forward(self, modalities: Mapping[str, ModalityFeatures]) -> FusedFeatures:
        """Fuse a batch."""
        return FusedFeatures(modalities=dict(modalities))
