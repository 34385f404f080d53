"""The network of a bundle: from a tensor of images to class scores, as MONAI's tools expect one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from medfuse.data.collate import no_text
from medfuse.errors import CheckpointError
from medfuse.inference.engines.graph import window_batch
from medfuse.model import FusionNetwork
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Checkpoint


class BundleNetwork(nn.Module):
    """A fusion network that reads a batch of windows, all channels there and without text unless texts are given.

    Args:
        checkpoint: What the model is.
        network: Its weights.
    """

    def __init__(self, checkpoint: Checkpoint, network: FusionNetwork) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.fusion_network = network

    def forward(self, image: Tensor, text: Sequence[str] | None = None) -> Tensor:
        """Class scores of windows, shape `(B, S1, I, J, K)`, background first.

        Args:
            image: Prepared channels, shape `(B, C, I, J, K)`.
            text: Text input of each.
        """
        rows = len(image)
        encoder = self.fusion_network.text_encoder
        tokens = no_text(rows) if encoder is None else encoder.tokenize(list(text) if text else [""] * rows)
        present = torch.ones(image.shape[:2], dtype=torch.bool)
        volume_ml = torch.full((rows,), _voxel_ml(self.checkpoint))
        batch = window_batch(torch.as_tensor(image), present, volume_ml, tokens.mask, tokens.present)
        scores = self.fusion_network(replace(batch, text=tokens).to(image.device)).segment_logits
        if scores is None:
            raise CheckpointError("the model delineates nothing, so it gives no class scores")
        return torch.as_tensor(scores)


def load_network(checkpoint: str) -> BundleNetwork:
    """The network of a checkpoint's folder, in evaluation mode, its weights read from safetensors and checked.

    Raises:
        CheckpointError: It is missing or broken.
    """
    return BundleNetwork(*checkpoints.load(Path(checkpoint)))


def _voxel_ml(checkpoint: Checkpoint) -> float:
    i, j, k = checkpoint.recipe.spacing_mm
    return i * j * k / 1000
