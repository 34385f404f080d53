"""A plain or residual convolutional encoder, as in the left half of a U-Net."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetResBlock
from torch import Tensor, nn

from medfuse.encoders.image.base import IMAGE_ENCODERS, AbsentChannels, ImageEncoder, position_code
from medfuse.tensors import ModalityFeatures


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
        super().__init__()
        self.out_channels = tuple(features)
        self.strides = tuple(2**stage for stage in range(len(features)))
        block = UnetResBlock if residual else UnetBasicBlock
        norm = ("instance", {"affine": True})
        inputs = (channels, *features[:-1])
        self.absent = AbsentChannels(channels)
        self.stages = nn.ModuleList(
            block(3, i, o, kernel_size=3, stride=1 if stage == 0 else 2, norm_name=norm)
            for stage, (i, o) in enumerate(zip(inputs, features, strict=True))
        )
        self.to_tokens = nn.Linear(features[-1], width)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Float[Tensor, "B C I J K"], channel_present: Bool[Tensor, "B C"]) -> ModalityFeatures:
        """Encode a batch; sizes must be multiples of the coarsest stride."""
        x = self.absent(image, channel_present).contiguous(memory_format=torch.channels_last_3d)
        pyramid = []
        for stage in self.stages:
            x = stage(x)
            pyramid.append(x)
        present = channel_present.any(dim=1)
        tokens = self.norm(self.to_tokens(x.flatten(2).transpose(1, 2)))
        tokens = tokens + position_code(tuple(x.shape[2:]), tokens.shape[-1], tokens)
        mask = present[:, None].expand(-1, tokens.shape[1])
        return ModalityFeatures(tokens=tokens * mask[..., None], mask=mask, present=present, pyramid=tuple(pyramid))
