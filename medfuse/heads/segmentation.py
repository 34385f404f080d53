"""A decoder that delineates, with the fused tokens at its bottom."""

from collections.abc import Sequence

from jaxtyping import Float
from monai.networks.blocks.dynunet_block import UnetUpBlock
from torch import Tensor, nn

from medfuse.tensors import ModalityFeatures


class SegmentationHead(nn.Module):
    """The right half of a U-Net over an image's pyramid.

    The fused tokens, which have seen the text, are laid back on the coarsest map and added to it, so that what the
    text says changes what is delineated.

    Args:
        out_channels: Channels of the pyramid, fine to coarse.
        strides: Strides of the pyramid along i, j, k, fine to coarse.
        width: Width of a token.
        classes: Number of segments and the background.
    """

    def __init__(
        self, out_channels: Sequence[int], strides: Sequence[tuple[int, int, int]], width: int, /, *, classes: int
    ) -> None:
        super().__init__()
        self.from_tokens = nn.Linear(width, out_channels[-1])
        norm = ("instance", {"affine": True})
        steps = range(len(out_channels) - 2, -1, -1)
        self.up = nn.ModuleList(
            UnetUpBlock(
                3,
                out_channels[step + 1],
                out_channels[step],
                kernel_size=3,
                stride=1,
                upsample_kernel_size=[a // b for a, b in zip(strides[step + 1], strides[step], strict=True)],
                norm_name=norm,
            )
            for step in steps
        )
        self.out = nn.Conv3d(out_channels[0], classes, kernel_size=1)

    def forward(self, image: ModalityFeatures) -> Float[Tensor, "B S1 I J K"]:
        """Class scores on the grid of the finest map."""
        coarse = image.pyramid[-1]
        told = self.from_tokens(image.tokens).transpose(1, 2).reshape(coarse.shape)
        x = coarse + told
        for up, skip in zip(self.up, reversed(image.pyramid[:-1]), strict=True):
            x = up(x, skip)
        return self.out(x)  # type: ignore[no-any-return]
