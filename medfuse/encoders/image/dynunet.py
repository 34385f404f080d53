"""nnU-Net's plain encoder with a kernel and a stride for each axis, for grids that are coarser along one of them."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from medfuse.encoders.image.base import IMAGE_ENCODERS, ImageEncoder, cumulative
from medfuse.encoders.image.unet import through
from medfuse.errors import ConfigError


@IMAGE_ENCODERS.register("dynunet")
class DynUNetEncoder(ImageEncoder):
    """The left half of MONAI's DynUNet: two convolutions with instance norm and leaky ReLU a stage.

    Args:
        channels: Image channels.
        width: Width of a token.
        features: Feature maps of each stage, fine to coarse; at least two.
        strides: Reduction of each stage, one number or one an axis; the first is 1. Left out, each later one is 2.
        kernels: Kernel size of each stage, one number or one an axis. Left out, each is 3.
        residual: Add a skip around the convolutions of a stage.

    Raises:
        ConfigError: The lists differ in length, or the first stride is not 1.

    Source: Isensee et al. 2021, "nnU-Net", Nature Methods 18.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        /,
        *,
        features: Sequence[int] = (32, 64, 128, 256, 320),
        strides: Sequence[int | tuple[int, int, int]] | None = None,
        kernels: Sequence[int | tuple[int, int, int]] | None = None,
        residual: bool = False,
    ) -> None:
        from monai.networks.nets.dynunet import DynUNet

        super().__init__(channels)
        steps = list(strides or [1] + [2] * (len(features) - 1))
        sizes = list(kernels or [3] * len(features))
        if not len(features) == len(steps) == len(sizes) >= 2 or cumulative(steps)[0] != (1, 1, 1):
            raise ConfigError(
                f"image encoder 'dynunet' has {len(features)} features, {len(steps)} strides and {len(sizes)} kernels; "
                "expected one of each a stage, two stages or more, the first with stride 1"
            )
        net = DynUNet(
            spatial_dims=3,
            in_channels=channels,
            out_channels=1,
            kernel_size=sizes,
            strides=steps,
            upsample_kernel_size=steps[1:],
            filters=features,
            res_block=residual,
        )
        self.stages = nn.ModuleList([net.input_block, *net.downsamples, net.bottleneck])
        self.finish(features, cumulative(steps), width)

    def pyramid(self, image: Float[Tensor, "B C I J K"]) -> list[Tensor]:
        """Feature maps of a batch, fine to coarse."""
        return through(self.stages, image)
