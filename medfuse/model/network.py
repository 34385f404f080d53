"""The network: encoders, fusion, heads."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medfuse.encoders.image import ImageEncoder
from medfuse.encoders.text import TextEncoder
from medfuse.fusion import Fusion, Presence
from medfuse.heads import FindingHead, RegionMeasures, SegmentationHead, TargetHead
from medfuse.tensors import Batch, ModalityFeatures, ModelOutput


class FusionNetwork(nn.Module):
    """Reads a batch and answers every finding, every target and every voxel.

    Args:
        encoders: An image encoder under `image` and a text encoder under `text`; at least one of them.
        presence: Stands in for missing modalities.
        fusion: Lets the modalities see each other.
        segmentation: Delineates, or None.
        regions: Measures what was delineated for the findings and targets, or None.
        findings: Answers the findings, or None for a model without.
        targets: Answers the targets, or None for a model without.

    Attributes:
        recompute: In training, compute the activations of the image encoder and the decoder again on the way back
            instead of keeping them.
    """

    recompute: bool = False

    def __init__(
        self,
        *,
        encoders: dict[str, nn.Module],
        presence: Presence,
        fusion: Fusion,
        segmentation: SegmentationHead | None,
        regions: RegionMeasures | None,
        findings: FindingHead | None,
        targets: TargetHead | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.presence = presence
        self.fusion = fusion
        self.segmentation = segmentation
        self.regions = regions
        self.findings = findings
        self.targets = targets

    @property
    def text_encoder(self) -> TextEncoder | None:
        """The text encoder, or None for a model that reads no text."""
        return dict(self.encoders).get("text")  # type: ignore[return-value]

    @property
    def image_encoder(self) -> ImageEncoder | None:
        """The image encoder, or None for a model that sees no image."""
        return dict(self.encoders).get("image")  # type: ignore[return-value]

    def forward(self, batch: Batch, encoded: Mapping[str, ModalityFeatures] | None = None) -> ModelOutput:
        """Answer a batch.

        Args:
            batch: The studies, or windows of them.
            encoded: Features of modalities that are encoded already, e.g. a text that several windows share.
        """
        fused = self.fusion(self.presence(self._encode(batch, encoded or {})))
        image = fused.modalities.get("image")
        segment_logits = regions = None
        deep: tuple[Tensor, ...] = ()
        if self.segmentation is not None and image is not None:
            segment_logits, *coarser = (
                level.float() for level in self.segmentation(image, fused.modalities.get("text"))
            )
            deep = tuple(coarser)
        if self.regions is not None and segment_logits is not None:
            with torch.autocast(segment_logits.device.type, enabled=False):
                regions = self.regions(segment_logits, batch.voxel_volume_ml, batch.segment_targets, batch.segment_mask)
        studies, words = batch.text.mask.shape
        logits = batch.voxel_volume_ml.new_zeros((studies, 0))
        looked: dict[str, Tensor] = {}
        answered: dict[str, Tensor] = {}
        has_regions = None if image is None else image.present
        with torch.autocast(logits.device.type, enabled=False):
            if self.findings is not None:
                logits, looked = self.findings(fused, regions, has_regions)
            if self.targets is not None:
                answered = self.targets(fused, regions, has_regions)
        attention = looked.get("text", logits.new_zeros((studies, logits.shape[1], words)))
        attention = attention * batch.text.present[:, None, None]
        return ModelOutput(
            finding_logits=logits,
            segment_logits=segment_logits,
            text_attention=attention,
            deep_logits=deep,
            target_outputs=answered,
        )

    def _encode(self, batch: Batch, given: Mapping[str, ModalityFeatures]) -> dict[str, ModalityFeatures]:
        inputs: dict[str, Callable[[nn.Module], ModalityFeatures]] = {
            "image": lambda encoder: self._run(encoder, batch.image, batch.channel_present),
            "text": lambda encoder: encoder(batch.text),
        }
        return {name: given[name] if name in given else inputs[name](part) for name, part in self.encoders.items()}

    def _run(self, part: nn.Module, *inputs: Any) -> Any:
        if self.training and self.recompute:
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)
