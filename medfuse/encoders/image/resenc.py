"""The residual encoder that nnU-Net recommends: a stem, then stages of more and more residual blocks."""

from collections.abc import Sequence

from jaxtyping import Float
from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetResBlock
from torch import Tensor, nn

from medfuse.encoders.image.base import IMAGE_ENCODERS, ImageEncoder, cumulative
from medfuse.encoders.image.unet import through
from medfuse.errors import ConfigError


@IMAGE_ENCODERS.register("resenc")
class ResidualEncoder(ImageEncoder):
    """A convolution stem and stages of residual blocks, the first block of a stage reducing the grid.

    Args:
        channels: Image channels.
        width: Width of a token.
        features: Feature maps of each stage, fine to coarse.
        blocks: Residual blocks of each stage.
        strides: Reduction of each stage, one number or one an axis; the first is 1. Left out, each later one is 2.
        kernels: Kernel size of each stage, one number or one an axis. Left out, each is 3.

    Raises:
        ConfigError: The lists differ in length.

    Source: Isensee et al. 2024, "nnU-Net Revisited", MICCAI (ResEnc presets: blocks 1, 3, 4, 6, 6, 6). The blocks are
    MONAI's, whose skip is a strided 1x1x1 convolution where nnU-Net's first averages.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        /,
        *,
        features: Sequence[int] = (32, 64, 128, 256, 320),
        blocks: Sequence[int] = (1, 3, 4, 6, 6),
        strides: Sequence[int | tuple[int, int, int]] | None = None,
        kernels: Sequence[int | tuple[int, int, int]] | None = None,
    ) -> None:
        super().__init__(channels)
        steps = list(strides or [1] + [2] * (len(features) - 1))
        sizes = list(kernels or [3] * len(features))
        if not len(features) == len(blocks) == len(steps) == len(sizes) or cumulative(steps)[0] != (1, 1, 1):
            raise ConfigError(
                f"image encoder 'resenc' has {len(features)} features, {len(blocks)} blocks, {len(steps)} strides and "
                f"{len(sizes)} kernels; expected one of each a stage, the first with stride 1"
            )
        norm = ("instance", {"affine": True})
        self.stem = UnetBasicBlock(3, channels, features[0], kernel_size=sizes[0], stride=1, norm_name=norm)
        stages, last = [], features[0]
        for size, count, step, kernel in zip(features, blocks, steps, sizes, strict=True):
            shapes = [(last, size, step)] + [(size, size, 1)] * (count - 1)
            stages.append(
                nn.Sequential(
                    *(UnetResBlock(3, i, o, kernel_size=kernel, stride=s, norm_name=norm) for i, o, s in shapes)
                )
            )
            last = size
        self.stages = nn.ModuleList(stages)
        self.finish(features, cumulative(steps), width)

    def pyramid(self, image: Float[Tensor, "B C I J K"]) -> list[Tensor]:
        """Feature maps of a batch, fine to coarse."""
        return through(self.stages, self.stem(image))
