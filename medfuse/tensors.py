"""The tensor records that pass between stages, the legend of their axes, and the code of places on a grid.

    B  studies in a batch        C  image channels (series)     F  findings     T  targets
    I, J, K  voxels              N  tokens of one modality      D  width of a token
    S  segments; S1 = S + 1 counts the background as class 0    W  sub-word tokens of a text
       Where segments overlap, S1 = S: each has a score of its own and the background none, and bit s of a label map's
       numbers says whether a voxel belongs to segment s.

Records are frozen; `to` returns a copy on another device.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

Record = TypeVar("Record")

IGNORED = 255
"""The number in a label map of voxels that take no part in losses and metrics: nobody says what they are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One study as the network takes it.

    Args:
        study_instance_uid: Which study.
        image: Normalised channels; a missing channel is zero.
        channel_present: Which channels the study has.
        text: The text input; empty for none.
        finding_targets: 1 present, 0 absent; 0 where masked.
        finding_mask: Which findings were assessed.
        target_values: Position of the class or grade, or the number; 0 where masked.
        target_mask: Which targets are known.
        segment_targets: Label map (or its bits), 0 background, `IGNORED` where nobody knows; zeros where there is none.
        has_segmentation: Whether `segment_targets` is truth.
        voxel_volume_ml: Volume of one voxel of the grid, millilitres.
    """

    study_instance_uid: str
    image: Float[Tensor, "C I J K"]
    channel_present: Bool[Tensor, "C"]
    text: str
    finding_targets: Float[Tensor, "F"]
    finding_mask: Bool[Tensor, "F"]
    target_values: Float[Tensor, "T"]
    target_mask: Bool[Tensor, "T"]
    segment_targets: Int[Tensor, "I J K"]
    has_segmentation: bool
    voxel_volume_ml: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextTokens:
    """A batch of texts as sub-words.

    Args:
        ids: Vocabulary indices, padded.
        mask: True where a token is.
        number_values: The number that the token is a part of; NaN where it is none.
        offsets: First and last-plus-one character of each token in its text.
        present: Which studies have a text at all.
    """

    ids: Int[Tensor, "B W"]
    mask: Bool[Tensor, "B W"]
    number_values: Float[Tensor, "B W"]
    offsets: Int[Tensor, "B W 2"]
    present: Bool[Tensor, "B"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Samples stacked, text tokenised."""

    study_instance_uids: tuple[str, ...]
    image: Float[Tensor, "B C I J K"]
    channel_present: Bool[Tensor, "B C"]
    text: TextTokens
    finding_targets: Float[Tensor, "B F"]
    finding_mask: Bool[Tensor, "B F"]
    target_values: Float[Tensor, "B T"]
    target_mask: Bool[Tensor, "B T"]
    segment_targets: Int[Tensor, "B I J K"]
    segment_mask: Bool[Tensor, "B"]
    voxel_volume_ml: Float[Tensor, "B"]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        return on_device(self, device)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModalityFeatures:
    """What an encoder of any modality returns.

    Args:
        tokens: Features; rows where `mask` is False are zero.
        mask: Which tokens take part in attention; all False for an absent modality.
        present: Which studies have the modality.
        pyramid: Feature maps from fine to coarse for a segmentation head; empty for a modality without a grid.
            The tokens of an image are the cells of the coarsest map, in C order.
    """

    tokens: Float[Tensor, "B N D"]
    mask: Bool[Tensor, "B N"]
    present: Bool[Tensor, "B"]
    pyramid: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FusedFeatures:
    """What a fusion strategy returns: each modality's tokens after it has seen the others.

    Args:
        modalities: Fused features under the modality's name; masks, presence and pyramids as they came.
    """

    modalities: Mapping[str, ModalityFeatures]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelOutput:
    """What the network says of a batch.

    Args:
        finding_logits: One logit a finding.
        segment_logits: Class scores on the input grid, background first unless segments overlap; None for a model
            without segments.
        deep_logits: In training, class scores on coarser grids, fine to coarse.
        text_attention: How much each finding looked at each sub-word; rows sum to at most 1.
        target_outputs: Target -> its outputs, shape `(B, K)` (see `medfuse.heads.targets`), in the label set's order.
    """

    finding_logits: Float[Tensor, "B F"]
    segment_logits: Float[Tensor, "B S1 I J K"] | None
    text_attention: Float[Tensor, "B F W"]
    deep_logits: tuple[Tensor, ...] = ()
    target_outputs: Mapping[str, Tensor] = field(default_factory=dict)


def segment_masks(label_map: Int[Tensor, "B I J K"], segments: int, overlapping: bool) -> Bool[Tensor, "B S I J K"]:
    """Where each segment of a label map is; nowhere in voxels that are `IGNORED`.

    Args:
        label_map: Numbers of segments, or bits of those that overlap.
        segments: How many there are.
        overlapping: Which of the two.
    """
    number = torch.arange(segments, device=label_map.device).view(1, -1, 1, 1, 1)
    here = label_map[:, None]
    return ((here >> number) & 1 == 1) & (here != IGNORED) if overlapping else here == number + 1


def segment_probabilities(logits: Float[Tensor, "B S1 I J K"], overlapping: bool) -> Float[Tensor, "B S I J K"]:
    """The probability of each segment in each voxel: a softmax over the classes, or each one's own sigmoid."""
    return logits.float().sigmoid() if overlapping else logits.float().softmax(dim=1)[:, 1:]


def on_device(record: Record, device: torch.device) -> Record:
    """A copy of a record with every tensor, nested records included, on `device`."""
    changed: dict[str, Any] = {}
    for part in fields(record):  # type: ignore[arg-type]
        value = getattr(record, part.name)
        if isinstance(value, Tensor):
            changed[part.name] = value.to(device)
        elif is_dataclass(value) and not isinstance(value, type):
            changed[part.name] = on_device(value, device)
        else:
            changed[part.name] = value
    return type(record)(**changed)


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
    return pad(joined, (0, width - joined.shape[1]))
