"""The encoder of MedNeXt: ConvNeXt's blocks in 3D, with depth-wise kernels that may be large."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from medfuse.encoders.image.base import IMAGE_ENCODERS, ImageEncoder, cumulative


@IMAGE_ENCODERS.register("mednext")
class MedNeXtEncoder(ImageEncoder):
    """Depth-wise convolution, expansion, contraction; each level has half the grid and twice the features.

    Args:
        channels: Image channels.
        width: Width of a token.
        filters: Feature maps of the first level.
        blocks: Blocks of each level, the coarsest included; at least two levels.
        expansion: How much wider a block is inside.
        kernel: Side of the depth-wise kernels; odd.

    Source: Roy et al. 2023, "MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation".
    """

    def __init__(
        self,
        channels: int,
        width: int,
        /,
        *,
        filters: int = 32,
        blocks: Sequence[int] = (2, 2, 2, 2),
        expansion: int = 2,
        kernel: int = 3,
    ) -> None:
        from monai.networks.nets.mednext import MedNeXt

        super().__init__(channels)
        *fine, coarse = blocks
        net = MedNeXt(
            in_channels=channels,
            init_filters=filters,
            encoder_expansion_ratio=expansion,
            bottleneck_expansion_ratio=expansion,
            kernel_size=kernel,
            use_residual_connection=True,
            blocks_down=fine,
            blocks_bottleneck=coarse,
            blocks_up=[1] * len(fine),
        )
        self.stem, self.levels, self.down, self.coarsest = net.stem, net.enc_stages, net.down_blocks, net.bottleneck
        steps = [1] + [2] * len(fine)
        self.finish([filters * 2**level for level in range(len(blocks))], cumulative(steps), width)

    def pyramid(self, image: Float[Tensor, "B C I J K"]) -> list[Tensor]:
        """Feature maps of a batch, fine to coarse."""
        x, maps = self.stem(image), []
        for level, down in zip(self.levels, self.down, strict=True):
            maps.append(level(x))
            x = down(maps[-1])
        return [*maps, self.coarsest(x)]
