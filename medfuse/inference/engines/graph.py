"""The network as a function from tensors to tensors, for what compiles or exports it.

The text encoder stays outside: it runs once a study and takes a moment, while this runs for every window.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from medfuse.inference.engines.base import Encoded, Window
from medfuse.model import FusionNetwork
from medfuse.tensors import Batch, ModalityFeatures, ModelOutput, TextTokens

WORDS_A_STEP = 32
"""Texts are padded with masked tokens to a multiple of this, so that few lengths occur."""


class GraphInputs(NamedTuple):
    """What goes in; B is 1 in an exported graph.

    Attributes:
        image: Shape `(B, C, I, J, K)`.
        channel_present: Shape `(B, C)`.
        voxel_volume_ml: Shape `(B,)`.
        text_tokens: Encoded text, shape `(B, N, D)`.
        text_mask: Shape `(B, N)`.
        text_present: Shape `(B,)`.
    """

    image: Tensor
    channel_present: Tensor
    voxel_volume_ml: Tensor
    text_tokens: Tensor
    text_mask: Tensor
    text_present: Tensor


class WindowGraph(nn.Module):
    """A network over the tensors of `GraphInputs`.

    Args:
        network: The network.

    The outputs are those of the `names`: finding logits `(B, F)`, text attention `(B, F, N)`, one a target, and
    segment logits `(B, S1, I, J, K)` from a network that delineates.
    """

    def __init__(self, network: FusionNetwork) -> None:
        super().__init__()
        self.network = network
        self.targets = target_names(network)

    @property
    def names(self) -> list[str]:
        """Names of the outputs."""
        fixed = ["finding_logits", "text_attention", *(f"target_{number}" for number in range(len(self.targets)))]
        return [*fixed, "segment_logits"] if self.network.segmentation is not None else fixed

    def forward(
        self,
        image: Tensor,
        channel_present: Tensor,
        voxel_volume_ml: Tensor,
        text_tokens: Tensor,
        text_mask: Tensor,
        text_present: Tensor,
    ) -> tuple[Tensor, ...]:
        """Answer a batch."""
        encoded = {}
        if self.network.text_encoder is not None:
            encoded["text"] = ModalityFeatures(tokens=text_tokens, mask=text_mask, present=text_present)
        output = self.network(window_batch(image, channel_present, voxel_volume_ml, text_mask, text_present), encoded)
        told = [output.finding_logits, output.text_attention, *(output.target_outputs[name] for name in self.targets)]
        return tuple(told if output.segment_logits is None else [*told, output.segment_logits])


def graph_inputs(batch: Batch, encoded: Encoded, width: int) -> GraphInputs:
    """The tensors of a batch; one row of encoded text serves every row of the batch.

    Args:
        batch: The batch.
        encoded: Of the study's text; empty for a network that reads none.
        width: Width of a token.
    """
    rows = len(batch.image)
    text = encoded.get("text")
    if text is None:
        tokens, mask = torch.zeros((1, 1, width)), torch.zeros((1, 1), dtype=torch.bool)
        present = torch.zeros(1, dtype=torch.bool)
    else:
        missing = -text.tokens.shape[1] % WORDS_A_STEP
        tokens, mask, present = pad(text.tokens, (0, 0, 0, missing)), pad(text.mask, (0, missing)), text.present
    return GraphInputs(
        image=batch.image,
        channel_present=batch.channel_present,
        voxel_volume_ml=batch.voxel_volume_ml,
        text_tokens=tokens.expand(rows, -1, -1),
        text_mask=mask.expand(rows, -1),
        text_present=present.expand(rows),
    )


def model_output(outputs: Mapping[str, Tensor], targets: tuple[str, ...], words: int) -> ModelOutput:
    """The record of a graph's outputs, the padding of the text taken off."""
    segment_logits = outputs.get("segment_logits")
    return ModelOutput(
        finding_logits=outputs["finding_logits"].float(),
        segment_logits=None if segment_logits is None else segment_logits.float(),
        text_attention=outputs["text_attention"][..., :words].float(),
        target_outputs={name: outputs[f"target_{number}"].float() for number, name in enumerate(targets)},
    )


def example_inputs(network: FusionNetwork, window: Window) -> GraphInputs:
    """Inputs of one window of noise and a text of two steps, to trace a graph with."""
    generator = torch.Generator().manual_seed(0)
    words = 1 if network.text_encoder is None else 2 * WORDS_A_STEP
    return GraphInputs(
        image=torch.randn((1, channel_count(network), *window), generator=generator),
        channel_present=torch.ones((1, channel_count(network)), dtype=torch.bool),
        voxel_volume_ml=torch.full((1,), 0.001),
        text_tokens=torch.randn((1, words, token_width(network)), generator=generator),
        text_mask=torch.ones((1, words), dtype=torch.bool),
        text_present=torch.ones(1, dtype=torch.bool),
    )


def target_names(network: FusionNetwork) -> tuple[str, ...]:
    """Names of a network's targets, in order."""
    return () if network.targets is None else tuple(target.name for target in network.targets.targets)


def token_width(network: FusionNetwork) -> int:
    """Width of a token."""
    return len(next(network.presence.absent.parameters()))


def channel_count(network: FusionNetwork) -> int:
    """Number of image channels; 0 for a network that sees no image."""
    return 0 if network.image_encoder is None else len(network.image_encoder.absent.value)


def window_batch(
    image: Tensor, channel_present: Tensor, voxel_volume_ml: Tensor, text_mask: Tensor, text_present: Tensor
) -> Batch:
    """A batch of windows whose text is encoded already, or is put in its place.

    Args:
        image: Shape `(B, C, I, J, K)`.
        channel_present: Shape `(B, C)`.
        voxel_volume_ml: Shape `(B,)`.
        text_mask: Shape `(B, N)`.
        text_present: Shape `(B,)`.
    """
    rows, words = text_mask.shape
    nothing = image.new_zeros((rows, 0))
    return Batch(
        study_instance_uids=("",) * rows,
        image=image,
        channel_present=channel_present,
        text=TextTokens(
            ids=torch.zeros((rows, words), dtype=torch.long),
            mask=text_mask,
            number_values=image.new_zeros((rows, words)),
            offsets=torch.zeros((rows, words, 2), dtype=torch.long),
            present=text_present,
        ),
        finding_targets=nothing,
        finding_mask=nothing.bool(),
        target_values=nothing,
        target_mask=nothing.bool(),
        segment_targets=torch.zeros((1, 1, 1, 1), dtype=torch.long).expand(rows, *image.shape[2:]),
        segment_mask=torch.zeros(rows, dtype=torch.bool),
        voxel_volume_ml=voxel_volume_ml,
    )
