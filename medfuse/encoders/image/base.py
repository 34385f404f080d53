"""The contract of an image encoder, and what every one of them needs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from medfuse.registry import Registry
from medfuse.tensors import ModalityFeatures, position_code

IMAGE_ENCODERS: Registry["ImageEncoder"] = Registry("image encoder")


class ImageEncoder(nn.Module, ABC):
    """From channels on a grid to a pyramid of feature maps and tokens of its coarsest one.

    A new encoder makes its layers, calls `finish`, and says in `pyramid` what each level is.

    Args:
        channels: Number of image channels.

    Attributes:
        out_channels: Channels of each map of the pyramid, fine to coarse; the finest has the input's grid.
        strides: Reduction of each map against the input along i, j, k, fine to coarse.
    """

    out_channels: tuple[int, ...]
    strides: tuple[tuple[int, int, int], ...]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.absent = AbsentChannels(channels)

    def finish(self, out_channels: Sequence[int], strides: Sequence[Sequence[int]], width: int) -> None:
        """State the pyramid, and make what turns its coarsest map into tokens.

        Args:
            out_channels: Channels of each map, fine to coarse.
            strides: Reduction of each map against the input, fine to coarse.
            width: Width of a token.
        """
        self.out_channels = tuple(out_channels)
        self.strides = tuple((stride[0], stride[1], stride[2]) for stride in strides)
        self.to_tokens = nn.Linear(self.out_channels[-1], width)
        self.norm = nn.LayerNorm(width)

    @abstractmethod
    def pyramid(self, image: Float[Tensor, "B C I J K"]) -> list[Tensor]:
        """Feature maps of a batch, fine to coarse."""

    def forward(self, image: Float[Tensor, "B C I J K"], channel_present: Bool[Tensor, "B C"]) -> ModalityFeatures:
        """Encode a batch; a study with no channel at all comes back as absent.

        Raises:
            ValueError: The size is no multiple of the coarsest stride.
        """
        if any(n % stride for n, stride in zip(image.shape[2:], self.strides[-1], strict=True)):
            raise ValueError(
                f"an image of {tuple(image.shape[2:])} voxels; each must be a multiple of {self.strides[-1]}"
            )
        pyramid = self.pyramid(self.absent(image, channel_present).contiguous(memory_format=torch.channels_last_3d))
        coarse = pyramid[-1]
        present = channel_present.any(dim=1)
        tokens = self.norm(self.to_tokens(coarse.flatten(2).transpose(1, 2)))
        tokens = tokens + position_code(tuple(coarse.shape[2:]), tokens.shape[-1], tokens)
        mask = present[:, None].expand(-1, tokens.shape[1])
        return ModalityFeatures(tokens=tokens * mask[..., None], mask=mask, present=present, pyramid=tuple(pyramid))


class AbsentChannels(nn.Module):
    """Fills the channels that a study lacks with one learned value each.

    Args:
        channels: Number of image channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(channels))

    def forward(self, image: Float[Tensor, "B C I J K"], present: Bool[Tensor, "B C"]) -> Float[Tensor, "B C I J K"]:
        """The image with its absent channels filled."""
        return torch.where(present[:, :, None, None, None], image, self.value[:, None, None, None].to(image.dtype))


def cumulative(steps: Sequence[int | Sequence[int]]) -> list[tuple[int, int, int]]:
    """Strides against the input of stages that each reduce by `steps`, one number or one for each axis."""
    total, strides = (1, 1, 1), []
    for step in steps:
        i, j, k = (step, step, step) if isinstance(step, int) else step
        total = (total[0] * i, total[1] * j, total[2] * k)
        strides.append(total)
    return strides
