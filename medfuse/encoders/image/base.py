"""The contract of an image encoder, and what every one of them needs."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from medfuse.registry import Registry
from medfuse.tensors import ModalityFeatures

IMAGE_ENCODERS: Registry["ImageEncoder"] = Registry("image encoder")


class ImageEncoder(nn.Module, ABC):
    """From channels on a grid to a pyramid of feature maps and tokens of its coarsest one.

    Attributes:
        out_channels: Channels of each map of the pyramid, fine to coarse.
        strides: Reduction of each map against the input, fine to coarse, the same along i, j, k.
    """

    out_channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def forward(self, image: Float[Tensor, "B C I J K"], channel_present: Bool[Tensor, "B C"]) -> ModalityFeatures:
        """Encode a batch; a study with no channel at all comes back as absent."""


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


def position_code(shape: tuple[int, ...], width: int, like: Tensor) -> Float[Tensor, "N D"]:
    """Sine-cosine codes of the cells of a grid, in C order, by relative position in [0, 1] along each axis.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.5, applied to each axis in turn.
    """
    per_axis = width // 6
    frequencies = math.pi * 2.0 ** torch.linspace(0, 4, max(per_axis, 1), device=like.device)
    codes = []
    for axis, n in enumerate(shape):
        relative = (torch.arange(n, device=like.device) + 0.5) / n
        angles = relative[:, None] * frequencies
        code = torch.cat([angles.sin(), angles.cos()], dim=1)[:, : width // 3]
        view = [1, 1, 1, code.shape[1]]
        view[axis] = n
        codes.append(code.reshape(view).expand(*shape, -1))
    joined = torch.cat(codes, dim=-1).reshape(-1, sum(code.shape[-1] for code in codes))
    return nn.functional.pad(joined, (0, width - joined.shape[1]))
