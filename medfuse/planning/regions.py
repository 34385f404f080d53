"""The regions that delineations name, counted over studies."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from medfuse.domain.segmentation import Segment
from medfuse.planning.fingerprint import SegmentPrint

ENOUGH = 0.1
"""Share of the delineated studies that has to show a region before it is asked for."""
_NUMBERED = re.compile(r"(?:segment|label|class|region)?[\s_-]*(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class _Region:
    names: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    volumes_ml: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Regions:
    """Regions by the words of their names; those that have a number for a name go by the number."""

    by_words: dict[str, _Region] = field(default_factory=dict)

    def add(self, regions: Sequence[tuple[Segment, float]]) -> None:
        """The regions of one study with their volumes in ml; an empty region is none."""
        seen = set()
        for segment, volume_ml in regions:
            words = " ".join(sorted(re.findall(r"[^\W_]+", segment.name.casefold())))
            if volume_ml <= 0 or not words or words in seen:
                continue
            seen.add(words)
            region = self.by_words.setdefault(words, _Region())
            region.names.append(segment.name.strip())
            region.numbers.append(segment.number)
            region.volumes_ml.append(volume_ml)

    def common(self, delineated: int) -> tuple[tuple[SegmentPrint, ...], dict[str, int]]:
        """The regions that enough of the delineated studies show, in the order of their numbers, and the rare ones."""
        ordered = sorted(self.by_words.items(), key=lambda item: (median(item[1].numbers), item[0]))
        enough = [region for _, region in ordered if len(region.names) >= ENOUGH * delineated]
        if enough and all(_NUMBERED.fullmatch(region.names[0]) for region in enough):
            enough = _counted_from_one(enough)
        rare = {region.names[0]: len(region.names) for _, region in ordered if region not in enough}
        return tuple(_print(region) for region in enough), rare


def _counted_from_one(regions: Sequence[_Region]) -> list[_Region]:
    """Those numbered 1, 2, 3 ... without a gap: by numbers alone, a segment's place in the label set is its number."""
    kept = []
    for number, region in enumerate(sorted(regions, key=lambda one: one.numbers[0]), start=1):
        if region.numbers[0] != number:
            break
        kept.append(region)
    return kept


def _print(region: _Region) -> SegmentPrint:
    return SegmentPrint(
        name=min(set(region.names), key=lambda name: (-region.names.count(name), name)),
        studies=len(region.names),
        median_ml=round(median(region.volumes_ml), 4),
        small_ml=round(float(np.percentile(region.volumes_ml, 10)), 4),
    )
