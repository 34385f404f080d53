"""How much memory a training step takes, estimated from the sizes of its feature maps."""

from collections.abc import Sequence
from math import prod

from medfuse.planning.device import GIB
from medfuse.planning.topology import Topology

MAPS_A_CONVOLUTION = 2.6
"""Feature maps that a convolution with its norm and activation keeps for the way back; counted with torch's
`saved_tensors_hooks` on MONAI's blocks, which a test repeats."""
BYTES_A_WEIGHT = 16
"""A weight, its gradient and AdamW's two averages, in fp32."""


def features_of(stages: int, base: int, most: int = 320) -> tuple[int, ...]:
    """Feature maps of each stage: doubled with each reduction, up to nnU-Net's 320."""
    return tuple(min(base * 2**stage, most) for stage in range(stages))


def training_gib(
    shape: Topology,
    features: Sequence[int],
    blocks: Sequence[int],
    *,
    channels: int,
    classes: int,
    batch: int,
    bytes_a_value: int = 4,
) -> float:
    """Memory of one step of training in GiB, the image side of the network; the text side adds less than 0.2.

    Args:
        shape: The network's stages.
        features: Feature maps of each.
        blocks: Blocks of two convolutions of each.
        channels: Image channels.
        classes: Segments and the background; 0 for a network that does not delineate.
        batch: Studies a step.
        bytes_a_value: 4 for fp32, 2 for bf16.
    """
    maps = weights = 0.0
    voxels, before = float(prod(shape.size)), channels
    finest = voxels
    for stage, (width, count) in enumerate(zip(features, blocks, strict=True)):
        voxels /= prod(shape.strides[stage])
        kernel = prod(shape.kernels[stage])
        maps += 2 * count * MAPS_A_CONVOLUTION * width * voxels
        weights += kernel * width * (before + (2 * count - 1) * width)
        if classes and stage < len(features) - 1:  # the decoder's block on this grid, and what is laid beside it
            maps += (2 * MAPS_A_CONVOLUTION + 3) * width * voxels
            weights += 27 * 3 * width * width
        before = width
    scores = 8 * classes * finest * 4  # logits, softmax, one-hot truth and their gradients, always fp32
    return (batch * (maps * bytes_a_value + scores) + weights * BYTES_A_WEIGHT) / GIB
