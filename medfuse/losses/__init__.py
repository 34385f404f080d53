"""What training minimises. Labels that were not assessed and masks that are not there take no part."""

from medfuse.losses.criterion import Criterion, LossWeights, TaskLosses
from medfuse.losses.findings import finding_loss
from medfuse.losses.segmentation import SegmentationLoss
from medfuse.losses.targets import TargetLoss
from medfuse.losses.volume import volume_loss

__all__ = [
    "Criterion",
    "LossWeights",
    "SegmentationLoss",
    "TargetLoss",
    "TaskLosses",
    "finding_loss",
    "volume_loss",
]
