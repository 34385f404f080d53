"""From a description of a model to the network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from medfuse.domain.labels import LabelSet
from medfuse.encoders.image import IMAGE_ENCODERS, ImageEncoder
from medfuse.encoders.text import TEXT_ENCODERS
from medfuse.errors import ConfigError
from medfuse.fusion import FUSIONS, Presence
from medfuse.heads import FindingHead, RegionMeasures, SegmentationHead, TargetHead
from medfuse.model.network import FusionNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Which parts a network is made of, by registered name, with their options.

    Args:
        image: Image encoder's name, or None for a model that sees no image.
        text: Text encoder's name, or None for a model that reads no text.
        fusion: Fusion strategy's name.
        width: Width of a token; divisible by the attention heads.
        modality_dropout: Probability with which a training study loses one of its modalities.
        finding_dropout: Dropout of the findings' and targets' heads.
        deep_supervision: Coarser levels of the decoder that give class scores of their own in training.
        text_levels: Skips of the decoder, from the coarsest on, that look at the text.
        image_options: Options of the image encoder.
        text_options: Options of the text encoder.
        fusion_options: Options of the fusion.
    """

    image: str | None = "unet"
    text: str | None = "transformer"
    fusion: str = "cross_attention"
    width: int = 64
    modality_dropout: float = 0.1
    finding_dropout: float = 0.4
    deep_supervision: int = 0
    text_levels: int = 0
    image_options: Mapping[str, Any] = field(default_factory=dict)
    text_options: Mapping[str, Any] = field(default_factory=dict)
    fusion_options: Mapping[str, Any] = field(default_factory=dict)


def assemble(spec: ModelSpec, label_set: LabelSet, channels: int) -> FusionNetwork:
    """Build the network, with fresh weights (pre-trained ones for the text encoder).

    Args:
        spec: The parts.
        label_set: What it predicts.
        channels: Number of image channels.

    Raises:
        ConfigError: A part or option is unknown, or the model would see nothing.
    """
    encoders: dict[str, nn.Module] = {}
    if spec.image is not None:
        encoders["image"] = IMAGE_ENCODERS.build(spec.image, channels, spec.width, options=spec.image_options)
    if spec.text is not None:
        encoders["text"] = TEXT_ENCODERS.build(spec.text, spec.width, options=spec.text_options)
    if not encoders:
        raise ConfigError("model.image and model.text are both off: the model would see nothing; set one of them")
    modalities = tuple(encoders)
    segmentation = _segmentation(encoders.get("image"), spec, label_set)
    regions = None
    if segmentation is not None and (label_set.findings or label_set.targets):
        regions = RegionMeasures(len(label_set.segments), spec.width, overlapping=label_set.overlapping)
    late = getattr(FUSIONS.get(spec.fusion), "late", False)
    common: dict[str, Any] = {"regions": regions is not None, "dropout": spec.finding_dropout, "late": late}
    findings = None
    if label_set.findings:
        findings = FindingHead(modalities, spec.width, findings=len(label_set.findings), **common)
    network = FusionNetwork(
        encoders=encoders,
        presence=Presence(modalities, spec.width, dropout=spec.modality_dropout),
        fusion=FUSIONS.build(spec.fusion, modalities, spec.width, options=spec.fusion_options),
        segmentation=segmentation,
        regions=regions,
        findings=findings,
    )
    if label_set.targets:  # last, so that the other weights are those of a network without
        network.targets = TargetHead(modalities, spec.width, targets=label_set.targets, **common)
    return network


def _segmentation(image: nn.Module | None, spec: ModelSpec, label_set: LabelSet) -> SegmentationHead | None:
    if not label_set.segments or not isinstance(image, ImageEncoder):
        return None
    return SegmentationHead(
        image.out_channels,
        image.strides,
        spec.width,
        classes=label_set.channels,
        deep_supervision=spec.deep_supervision,
        text_levels=spec.text_levels if spec.text is not None else 0,
    )
