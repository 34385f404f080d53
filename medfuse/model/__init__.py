"""The only place where the parts meet."""

from medfuse.model.assemble import ModelSpec, assemble
from medfuse.model.network import FusionNetwork

__all__ = ["FusionNetwork", "ModelSpec", "assemble"]
