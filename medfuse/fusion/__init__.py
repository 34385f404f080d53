"""Modality tokens -> fused tokens: how one modality's features see another's."""

from medfuse.fusion.base import FUSIONS, Fusion, Presence
from medfuse.fusion.concat import Concatenation, LateFusion
from medfuse.fusion.cross_attention import CrossAttention
from medfuse.fusion.latents import Bottleneck, PerceiverLatents
from medfuse.fusion.pooled import Addition, FiLM, Gated

__all__ = [
    "FUSIONS",
    "Addition",
    "Bottleneck",
    "Concatenation",
    "CrossAttention",
    "FiLM",
    "Fusion",
    "Gated",
    "LateFusion",
    "PerceiverLatents",
    "Presence",
]
