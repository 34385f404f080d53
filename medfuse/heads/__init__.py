"""Fused features -> logits."""

from medfuse.heads.classification import FindingHead
from medfuse.heads.regions import RegionMeasures
from medfuse.heads.segmentation import SegmentationHead
from medfuse.heads.targets import TargetHead

__all__ = ["FindingHead", "RegionMeasures", "SegmentationHead", "TargetHead"]
