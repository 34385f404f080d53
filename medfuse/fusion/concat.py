"""Fusions that leave the tokens alone: the modalities meet in the heads. The baselines that the others have to beat."""

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


@FUSIONS.register("late")
class LateFusion(Concatenation):
    """Passes every modality's tokens on as they are; each is read out by itself, and the logits are averaged.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.
    """

    late = True
