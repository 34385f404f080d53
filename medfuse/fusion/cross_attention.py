"""Cross-attention: the tokens of one modality look at those of the others, both ways or one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from medfuse.errors import ConfigError
from medfuse.fusion.attention import AttentionBlock, joined
from medfuse.fusion.base import FUSIONS, Fusion
from medfuse.tensors import FusedFeatures, ModalityFeatures


@FUSIONS.register("cross_attention")
class CrossAttention(Fusion):
    """Layers of pre-norm cross-attention and a feed-forward block, for each modality over all the others.

    The layers start as the identity, so that training begins from the encoders' own features. With one modality alone
    only the feed-forward blocks remain.

    Args:
        modalities: Names of the modalities.
        width: Width of a token.
        layers: Number of layers.
        heads: Attention heads; must divide `width`.
        dropout: On what each block adds.
        only: Modalities that look at the others, for one-way attention; left out, all do.

    Raises:
        ConfigError: `only` names none of the modalities.

    Source: Lu et al. 2019, "ViLBERT", section 3 (co-attention); Vaswani et al. 2017.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        /,
        *,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        only: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        looking = [name for name in modalities if only is None or name in only]
        if not looking:
            raise ConfigError(f"model.fusion.only is {list(only or ())}; expected some of {', '.join(modalities)}")
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: AttentionBlock(width, heads, dropout) for name in looking}) for _ in range(layers)
        )

    def forward(self, modalities: Mapping[str, ModalityFeatures]) -> FusedFeatures:
        """Fuse a batch; all modalities of a layer see each other as they were before it."""
        fused = dict(modalities)
        for layer in self.layers:
            fused = {name: self._look(layer, name, fused) for name in fused}  # type: ignore[arg-type]
        return FusedFeatures(modalities=fused)

    @staticmethod
    def _look(layer: nn.ModuleDict, name: str, fused: Mapping[str, ModalityFeatures]) -> ModalityFeatures:
        own = fused[name]
        if name not in layer:
            return own
        others = [fused[other] for other in fused if other != name]
        tokens = layer[name](own.tokens, *(joined(others) if others else (None, None)))
        return replace(own, tokens=tokens * own.mask[..., None])
