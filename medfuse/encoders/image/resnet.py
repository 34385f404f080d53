"""A 3D ResNet, the shape in which MedicalNet's pre-trained weights come."""

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from monai.networks.blocks.dynunet_block import UnetBasicBlock
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from medfuse.encoders.image.base import IMAGE_ENCODERS, ImageEncoder, cumulative
from medfuse.encoders.image.unet import through
from medfuse.errors import ConfigError

LAYERS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""Blocks of each stage, by depth; 50 has bottlenecks."""


@IMAGE_ENCODERS.register("resnet")
class ResNetEncoder(ImageEncoder):
    """A block on the input's grid, then ResNet's stem and stages at strides 2, 4, 8, 16, 32.

    Args:
        channels: Image channels.
        width: Width of a token.
        depth: 10, 18, 34 or 50.
        stages: How many of the four stages are kept: fewer for small images.
        fine: Feature maps of the block on the input's grid.
        norm: `batch`, as in MedicalNet, or `instance`, for batches of one or two studies.
        weights: A safetensors file of a 3D ResNet by torchvision's names (`layer1.0.conv1.weight`), e.g. MedicalNet's;
            a leading `module.` is dropped, and a first convolution of one channel is spread over several. Pickled
            files (`.pth`) are refused: convert them with safetensors first.

    Raises:
        ConfigError: The weights cannot be read or fit another depth.

    Source: He et al. 2016; Chen et al. 2019, "Med3D" (MedicalNet).
    """

    def __init__(
        self,
        channels: int,
        width: int,
        /,
        *,
        depth: Literal[10, 18, 34, 50] = 18,
        stages: Literal[1, 2, 3, 4] = 4,
        fine: int = 16,
        norm: Literal["batch", "instance"] = "batch",
        weights: str | None = None,
    ) -> None:
        from monai.networks.nets.resnet import ResNet

        super().__init__(channels)
        kind = ("instance", {"affine": True}) if norm == "instance" else norm
        is_deep = depth == 50
        self.fine = UnetBasicBlock(3, channels, fine, kernel_size=3, stride=1, norm_name=("instance", {"affine": True}))
        self.net = ResNet(
            "bottleneck" if is_deep else "basic",
            list(LAYERS[depth]),
            [64, 128, 256, 512],
            n_input_channels=channels,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=False,
            norm=kind,
        )
        if weights is not None:
            _load(self.net, Path(weights).expanduser(), channels)
        for stage in range(stages, 4):
            setattr(self.net, f"layer{stage + 1}", nn.Identity())
        wider = 4 if is_deep else 1
        features = [fine, 64, *(64 * 2**stage * wider for stage in range(stages))]
        self.kept = stages
        self.finish(features, cumulative([1, 2, 2, *[2] * (stages - 1)]), width)

    def pyramid(self, image: Float[Tensor, "B C I J K"]) -> list[Tensor]:
        """Feature maps of a batch, fine to coarse."""
        net = self.net
        stem = net.act(net.bn1(net.conv1(image)))
        stages = nn.ModuleList(getattr(net, f"layer{stage + 1}") for stage in range(self.kept))
        return [self.fine(image), stem, *through(stages, net.maxpool(stem))]


def _load(net: nn.Module, path: Path, channels: int) -> None:
    try:
        state = {name.removeprefix("module."): value for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"image encoder weights {path}: {str(error).splitlines()[0]}; expected a safetensors file (convert a .pth "
            "with safetensors.torch.save_file, where you trust it)"
        ) from error
    first = state.get("conv1.weight")
    if first is not None and first.shape[1] == 1 and channels > 1:
        state["conv1.weight"] = first.repeat(1, channels, 1, 1, 1) / channels
    wanted = net.state_dict()
    state = {name: value for name, value in state.items() if not name.startswith(("fc.", "conv_seg."))}
    wrong = [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]
    wrong = [name for name in wrong if not name.endswith("num_batches_tracked")]
    if wrong:
        raise ConfigError(
            f"image encoder weights {path} do not fit: {len(wrong)} of {len(wanted)} tensors are missing or of another "
            f"shape, e.g. {wrong[0]}; check model.image.depth and norm"
        )
    with torch.no_grad():
        net.load_state_dict({name: state.get(name, value) for name, value in wanted.items()})
