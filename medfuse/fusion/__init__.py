"""Modality tokens -> fused tokens: how one modality's features see another's."""

from medfuse.fusion.base import FUSIONS, Fusion, Presence
from medfuse.fusion.concat import Concatenation
from medfuse.fusion.cross_attention import CrossAttention

__all__ = ["FUSIONS", "Concatenation", "CrossAttention", "Fusion", "Presence"]
