"""A plain or residual convolutional encoder, as in the left half of a U-Net."""

from collections.abc import Sequence

from jaxtyping import Float
from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetResBlock
from torch import Tensor, nn

from medfuse.encoders.image.base import IMAGE_ENCODERS, ImageEncoder, cumulative


@IMAGE_ENCODERS.register("unet")
class UNetEncoder(ImageEncoder):
    """Stages of two 3x3x3 convolutions with instance norm, each after the first halving the grid.

    Args:
        channels: Image channels.
        width: Width of a token.
        features: Feature maps of each stage, fine to coarse.
        residual: Add a skip around the two convolutions of a stage.

    Source: Isensee et al. 2021, "nnU-Net", Nature Methods 18; the blocks are MONAI's.
    """

    def __init__(
        self, channels: int, width: int, /, *, features: Sequence[int] = (16, 32, 64, 128), residual: bool = True
    ) -> None:
        super().__init__(channels)
        block = UnetResBlock if residual else UnetBasicBlock
        norm = ("instance", {"affine": True})
        steps = [1] + [2] * (len(features) - 1)
        self.stages = nn.ModuleList(
            block(3, i, o, kernel_size=3, stride=step, norm_name=norm)
            for step, i, o in zip(steps, (channels, *features[:-1]), features, strict=True)
        )
        self.finish(features, cumulative(steps), width)

    def pyramid(self, image: Float[Tensor, "B C I J K"]) -> list[Tensor]:
        """Feature maps of a batch, fine to coarse."""
        return through(self.stages, image)


def through(stages: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """What each of `stages` makes of what the one before it made."""
    maps = []
    for stage in stages:
        x = stage(x)
        maps.append(x)
    return maps
