"""Which region of a delineation is which segment of a model.

A delineation calls its regions by a name of its own. It is taken for a segment when the two names hold the same words,
or when all words of one are among those of the other and of no second one (`Anterior` and `anterior hippocampus`).
Regions that have no name but a number (`2`, `segment_2`) go by the number. Nothing else is guessed: a region that
cannot be told is no reference, since a figure against the wrong region would look like any other.

A study whose delineations hold one of the model's segments, or no region at all, says of the segments that they lack
that there is none: an empty mask, as in training. A study whose delineations only hold other regions says nothing.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.segmentation import Segment, Segmentation

_NUMBERED = re.compile(r"(?:segment|label|class|region)?[\s_-]*(\d+)", re.IGNORECASE)


def reference_masks(
    delineations: Sequence[Segmentation],
    segments: Sequence[str],
    parts: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, NDArray[np.bool_]]:
    """The mask of each segment that the delineations hold.

    Args:
        delineations: Of one study, on one grid; the first that holds a segment gives it.
        segments: Names of the model's segments, in the order of its label set.
        parts: Segment -> names of the regions whose union it is (see `LabelSet.parts`); None where each is one region
            of its own name.

    Returns:
        Segment name -> mask of the grid's shape; empty when the delineations say nothing of any segment.
    """
    made_of = {name: tuple(parts[name]) if parts else (name,) for name in segments}
    asked = tuple(dict.fromkeys(part for name in segments for part in made_of[name]))
    masks: dict[str, NDArray[np.bool_]] = {}
    for delineation in delineations:
        numbered = {region.number: region for region in delineation.segments}
        for name, number in match_segments(delineation.segments, asked).items():
            if name not in masks:
                masks[name] = delineation.mask(numbered[number])
    if masks or any(not delineation.segments for delineation in delineations):
        nothing = np.zeros(delineations[0].geometry.shape, dtype=bool)
        return {name: np.logical_or.reduce([masks.get(part, nothing) for part in made_of[name]]) for name in segments}
    return {}


def match_segments(regions: Sequence[Segment], segments: Sequence[str]) -> dict[str, int]:
    """Segment name -> number of the region that it is in a label map; absent where none can be told."""
    numbered = [_NUMBERED.fullmatch(region.name.strip()) for region in regions]
    if regions and all(numbered):
        numbers = {region.number for region in regions}
        return {name: n for n, name in enumerate(segments, start=1) if n in numbers}
    region_words = [_words(region.name) for region in regions]
    segment_words = [_words(name) for name in segments]
    found: dict[str, int] = {}
    for name, words in zip(segments, segment_words, strict=True):
        index = _only(words, region_words)
        if index is not None and _only(region_words[index], segment_words) is not None:
            found[name] = regions[index].number
    return found


def _only(words: frozenset[str], among: Sequence[frozenset[str]]) -> int | None:
    """The index of the one set that equals `words`, or else of the only one that holds it or is held by it."""
    equal = [i for i, other in enumerate(among) if other == words]
    near = equal or [i for i, other in enumerate(among) if other and (other <= words or words <= other)]
    return near[0] if len(near) == 1 else None


def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W_]+", name.casefold()))
