"""The encoder of SegResNet, MONAI's Auto3DSeg default."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from medfuse.encoders.image.base import IMAGE_ENCODERS, ImageEncoder, cumulative


@IMAGE_ENCODERS.register("segresnet")
class SegResNetEncoder(ImageEncoder):
    """Pre-activation residual blocks; each level has half the grid and twice the features of the one before.

    Args:
        channels: Image channels.
        width: Width of a token.
        filters: Feature maps of the first level.
        blocks: Residual blocks of each level.

    Source: Myronenko 2018, "3D MRI brain tumor segmentation using autoencoder regularization".
    """

    def __init__(
        self, channels: int, width: int, /, *, filters: int = 16, blocks: Sequence[int] = (1, 2, 2, 4)
    ) -> None:
        from monai.networks.nets.segresnet_ds import SegResEncoder

        super().__init__(channels)
        self.levels = SegResEncoder(
            init_filters=filters, in_channels=channels, norm=("instance", {"affine": True}), blocks_down=tuple(blocks)
        )
        steps = [1] + [2] * (len(blocks) - 1)
        self.finish([filters * 2**level for level in range(len(blocks))], cumulative(steps), width)

    def pyramid(self, image: Float[Tensor, "B C I J K"]) -> list[Tensor]:
        """Feature maps of a batch, fine to coarse."""
        return list(self.levels(image))
