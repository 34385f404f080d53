"""What training minimises. Labels that were not assessed and masks that are not there take no part."""

from medfuse.losses.findings import finding_loss
from medfuse.losses.segmentation import SegmentationLoss

__all__ = ["SegmentationLoss", "finding_loss"]
