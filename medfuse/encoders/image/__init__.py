"""3D image encoders: channels on a grid -> a feature pyramid and tokens."""

from medfuse.encoders.image.base import IMAGE_ENCODERS, ImageEncoder
from medfuse.encoders.image.unet import UNetEncoder

__all__ = ["IMAGE_ENCODERS", "ImageEncoder", "UNetEncoder"]
