"""The encoder of SwinUNETR: windows of attention that shift, in four levels."""

from collections.abc import Sequence

from jaxtyping import Float
from monai.networks.blocks.dynunet_block import UnetResBlock
from torch import Tensor

from medfuse.encoders.image.base import IMAGE_ENCODERS, ImageEncoder, cumulative
from medfuse.errors import ConfigError


@IMAGE_ENCODERS.register("swin")
class SwinEncoder(ImageEncoder):
    """A residual block on the input's grid, then Swin levels at strides 2 to 32; sizes are multiples of 32.

    Args:
        channels: Image channels.
        width: Width of a token.
        features: Width of the first level, a multiple of 12 (it doubles with each level, as do its 3, 6, 12, 24 heads).
        depths: Transformer blocks of each of the four levels, even numbers.
        window: Side of a window, in cells.

    Raises:
        ConfigError: `features` is no multiple of 12, or there are not four depths.

    Source: Hatamizadeh et al. 2022, "Swin UNETR"; Liu et al. 2021, "Swin Transformer".
    """

    def __init__(
        self,
        channels: int,
        width: int,
        /,
        *,
        features: int = 24,
        depths: Sequence[int] = (2, 2, 2, 2),
        window: int = 7,
    ) -> None:
        from monai.networks.nets.swin_unetr import SwinTransformer

        super().__init__(channels)
        if features % 12 or len(depths) != 4:
            raise ConfigError(
                f"image encoder 'swin' takes features in steps of 12 and four depths, not {features}, {depths}"
            )
        self.fine = UnetResBlock(
            3, channels, features, kernel_size=3, stride=1, norm_name=("instance", {"affine": True})
        )
        self.levels = SwinTransformer(
            in_chans=channels,
            embed_dim=features,
            window_size=(window,) * 3,
            patch_size=(2,) * 3,
            depths=depths,
            num_heads=(3, 6, 12, 24),
        )
        self.finish([features, *(features * 2**level for level in range(5))], cumulative([1, 2, 2, 2, 2, 2]), width)

    def pyramid(self, image: Float[Tensor, "B C I J K"]) -> list[Tensor]:
        """Feature maps of a batch, fine to coarse."""
        return [self.fine(image), *self.levels(image.contiguous())]
