"""A decoder that delineates, with the fused tokens at its bottom and, where asked for, the text at its skips."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from monai.networks.blocks.dynunet_block import UnetUpBlock
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from medfuse.tensors import ModalityFeatures, position_code


class SegmentationHead(nn.Module):
    """The right half of a U-Net over an image's pyramid.

    The fused tokens, which have seen the text, are laid back on the coarsest map and added to it, so that what the
    text says changes what is delineated. With `text_levels`, every cell of that many skips looks at the text as well,
    so that words can pick a place that the coarsest map is too coarse for.

    Args:
        out_channels: Channels of the pyramid, fine to coarse.
        strides: Strides of the pyramid along i, j, k, fine to coarse.
        width: Width of a token.
        classes: Number of segments, and one more for the background unless they overlap (`LabelSet.channels`).
        deep_supervision: How many coarser levels give class scores of their own in training.
        text_levels: How many skips, from the coarsest on, look at the text.

    Source: Isensee et al. 2021, "nnU-Net" (decoder, deep supervision); the look at the text is ours, after Oktay et al.
    2018, "Attention U-Net", whose skips are gated by the decoder instead.
    """

    def __init__(
        self,
        out_channels: Sequence[int],
        strides: Sequence[tuple[int, int, int]],
        width: int,
        /,
        *,
        classes: int,
        deep_supervision: int = 0,
        text_levels: int = 0,
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
        coarse = [out_channels[step] for step in steps][:-1]
        self.deep = nn.ModuleList(nn.Conv3d(size, classes, kernel_size=1) for size in coarse[::-1][:deep_supervision])
        self.looks = nn.ModuleList(_TextLook(out_channels[step], width) for step in list(steps)[:text_levels])

    def forward(
        self, image: ModalityFeatures, text: ModalityFeatures | None = None
    ) -> tuple[Float[Tensor, "B S1 _ _ _"], ...]:
        """Class scores on the grid of the finest map, and in training on the coarser ones that are supervised.

        Args:
            image: With its pyramid.
            text: What the skips look at; None for a model without text.
        """
        coarse = image.pyramid[-1]
        told = self.from_tokens(image.tokens).transpose(1, 2).reshape(coarse.shape)
        x = coarse + told
        levels = []
        for step, (up, skip) in enumerate(zip(self.up, reversed(image.pyramid[:-1]), strict=True)):
            seen = self.looks[step](skip, text) if step < len(self.looks) and text is not None else skip
            x = up(x, seen)
            levels.append(x)
        scores = (self.out(x),)
        if not self.training:
            return scores
        return scores + tuple(head(level) for head, level in zip(self.deep, levels[-2::-1], strict=False))


class _TextLook(nn.Module):
    """Adds to each cell of a feature map what it reads in the text; starts as the identity."""

    def __init__(self, channels: int, width: int, inner: int = 32) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.query = nn.Linear(channels, inner)
        self.place = nn.Linear(inner, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner)
        self.out = nn.Linear(inner, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, cells: Float[Tensor, "B C I J K"], text: ModalityFeatures) -> Float[Tensor, "B C I J K"]:
        query = self.query(self.norm(cells).flatten(2).transpose(1, 2))
        query = query + self.place(position_code(tuple(cells.shape[2:]), query.shape[-1], query))
        key, value = self.key_value(text.tokens).to(query.dtype).chunk(2, dim=-1)
        mask = text.mask[:, None, None]
        read = scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], attn_mask=mask)[:, 0]
        told: Tensor = self.out(read).transpose(1, 2).reshape(cells.shape)
        return torch.add(cells, told)
