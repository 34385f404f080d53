"""From a prepared study and its labels to samples of one size."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from medfuse.data.cache import floor_of
from medfuse.domain.labels import LabelSet, LabelValue
from medfuse.preprocess import PreparedStudy, Recipe
from medfuse.preprocess.grid import centred, extract
from medfuse.tensors import Sample

ASSESSED = {LabelValue.PRESENT: 1.0, LabelValue.ABSENT: 0.0}
"""The label values that take part in losses and metrics."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One study, whole, in memory or mapped into it from the cache, ready to be cut into samples.

    Args:
        study_instance_uid: Which study.
        image: float32, shape `(C, I, J, K)`, any grid size.
        channel_present: Shape `(C,)`.
        text: The text input.
        truth: Label map of the grid, or None.
        labels: Finding -> value.
        voxel_volume_ml: Volume of a voxel.
        floor: Smallest value of each channel, which stands beyond the grid; None to look for it with each sample.
        targets: Target -> position of its class or grade, or the number; one that is not known is absent.
    """

    study_instance_uid: str
    image: NDArray[np.float32]
    channel_present: NDArray[np.bool_]
    text: str
    truth: NDArray[np.uint8] | None
    labels: Mapping[str, LabelValue]
    voxel_volume_ml: float
    floor: tuple[float, ...] | None = None
    targets: Mapping[str, float] = field(default_factory=dict)


def case_of(
    prepared: PreparedStudy,
    recipe: Recipe,
    *,
    labels: Mapping[str, LabelValue] | None = None,
    truth: NDArray[np.uint8] | None = None,
) -> Case:
    """A case from a prepared study.

    Args:
        prepared: The study on the model grid.
        recipe: How it was prepared.
        labels: Finding -> value.
        truth: Label map of the model grid, in the label set's numbers, or None.
    """
    return Case(
        study_instance_uid=prepared.study.study_instance_uid,
        image=prepared.image,
        channel_present=np.array([rule.name in prepared.series for rule in recipe.channels]),
        text=prepared.text,
        truth=truth,
        labels=dict(labels or {}),
        voxel_volume_ml=prepared.grid.voxel_volume_mm3 / 1000,
        floor=floor_of(prepared.image),
    )


def sample_of(
    case: Case,
    size: tuple[int, int, int],
    label_set: LabelSet,
    *,
    start: tuple[int, int, int] | None = None,
) -> Sample:
    """The block of a case that starts at `start`, centred when left out; beyond the grid it is background.

    Args:
        case: The study.
        size: Shape of the block.
        label_set: Order of the findings and targets.
        start: First voxel of the block on the case's grid; may be negative.
    """
    begin = start if start is not None else centred(case.image.shape[1:], size)
    floor = case.floor if case.floor is not None else floor_of(case.image)
    image = np.stack([extract(channel, begin, size, fill=low) for channel, low in zip(case.image, floor, strict=True)])
    truth = np.zeros(size, dtype=np.uint8) if case.truth is None else extract(case.truth, begin, size)
    values = [case.labels.get(finding, LabelValue.NOT_ASSESSED) for finding in label_set.findings]
    targets = [target.name for target in label_set.targets]
    return Sample(
        study_instance_uid=case.study_instance_uid,
        image=torch.from_numpy(image),
        channel_present=torch.from_numpy(case.channel_present),
        text=case.text,
        finding_targets=torch.tensor([ASSESSED.get(value, 0.0) for value in values]),
        finding_mask=torch.tensor([value in ASSESSED for value in values], dtype=torch.bool),
        target_values=torch.tensor([case.targets.get(name, 0.0) for name in targets], dtype=torch.float32),
        target_mask=torch.tensor([name in case.targets for name in targets], dtype=torch.bool),
        segment_targets=torch.from_numpy(truth.astype(np.int64)),
        has_segmentation=case.truth is not None,
        voxel_volume_ml=case.voxel_volume_ml,
    )
