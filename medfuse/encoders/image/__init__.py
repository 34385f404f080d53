"""3D image encoders: channels on a grid -> a feature pyramid and tokens."""

from medfuse.encoders.image.base import IMAGE_ENCODERS, ImageEncoder
from medfuse.encoders.image.dynunet import DynUNetEncoder
from medfuse.encoders.image.mednext import MedNeXtEncoder
from medfuse.encoders.image.resenc import ResidualEncoder
from medfuse.encoders.image.resnet import ResNetEncoder
from medfuse.encoders.image.segresnet import SegResNetEncoder
from medfuse.encoders.image.swin import SwinEncoder
from medfuse.encoders.image.unet import UNetEncoder

__all__ = [
    "IMAGE_ENCODERS",
    "DynUNetEncoder",
    "ImageEncoder",
    "MedNeXtEncoder",
    "ResNetEncoder",
    "ResidualEncoder",
    "SegResNetEncoder",
    "SwinEncoder",
    "UNetEncoder",
]
