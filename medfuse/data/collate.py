"""Samples -> a batch."""

from collections.abc import Callable, Sequence

import torch

from medfuse.tensors import Batch, Sample, TextTokens

Tokenize = Callable[[Sequence[str]], TextTokens]


def collate(samples: Sequence[Sample], tokenize: Tokenize | None) -> Batch:
    """Stack samples of one size; `tokenize` is the text encoder's, None for a model that reads no text."""
    texts = [sample.text for sample in samples]
    return Batch(
        study_instance_uids=tuple(sample.study_instance_uid for sample in samples),
        image=torch.stack([sample.image for sample in samples]),
        channel_present=torch.stack([sample.channel_present for sample in samples]),
        text=tokenize(texts) if tokenize else no_text(len(samples)),
        finding_targets=torch.stack([sample.finding_targets for sample in samples]),
        finding_mask=torch.stack([sample.finding_mask for sample in samples]),
        target_values=torch.stack([sample.target_values for sample in samples]),
        target_mask=torch.stack([sample.target_mask for sample in samples]),
        segment_targets=torch.stack([sample.segment_targets for sample in samples]),
        segment_mask=torch.tensor([sample.has_segmentation for sample in samples]),
        voxel_volume_ml=torch.tensor([sample.voxel_volume_ml for sample in samples], dtype=torch.float32),
    )


def no_text(rows: int) -> TextTokens:
    """The tokens of a batch without text: one masked token a row."""
    return TextTokens(
        ids=torch.zeros((rows, 1), dtype=torch.long),
        mask=torch.zeros((rows, 1), dtype=torch.bool),
        number_values=torch.full((rows, 1), float("nan")),
        offsets=torch.zeros((rows, 1, 2), dtype=torch.long),
        present=torch.zeros(rows, dtype=torch.bool),
    )
