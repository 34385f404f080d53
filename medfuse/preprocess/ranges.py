"""What the studies of training look like: modality, body part, slices, spacing, intensities; a checkpoint carries it.

A network answers whatever it is shown. Ranges say what it has been shown, so that scoring can flag or reject a study
that lies beyond. They are plain numbers and coded words of all training studies together; nothing in them is of one
patient, and free text of headers never enters.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.study import Series, Study
from medfuse.preprocess.channels import choose_series, slices_of
from medfuse.preprocess.recipe import Recipe
from medfuse.preprocess.text import text_input

PERCENTILES = (5.0, 50.0, 95.0)
"""Percentiles of a prepared channel's foreground that stand for its intensities."""

Interval = tuple[float, float]
"""Smallest and largest value."""

_MOST_VOXELS = 50_000
_CODED = re.compile(r"[A-Z0-9_ ]{1,16}")
_LEAST_STUDIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLook:
    """How one channel of one study looks.

    Args:
        modality: What made it.
        body_part: Body Part Examined (0018,0015), upper case; empty where it is not said or is no coded word.
        n_slices: Number of slices.
        spacing_mm: Distance between voxels along i, j, k, ascending; None where unknown.
        levels: The `PERCENTILES` of its foreground, as the network sees it; None where there is none.
    """

    modality: str
    body_part: str
    n_slices: int
    spacing_mm: tuple[float, float, float] | None
    levels: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRange:
    """How one channel of the training studies looked.

    Args:
        n_studies: How many of them have it.
        modalities: What made it.
        body_parts: What was examined, as coded words that several studies share; empty where headers do not say.
        slices: Number of slices.
        spacing_mm: Smallest, middle and largest distance between neighbouring voxels; empty where unknown.
        levels: Each of `PERCENTILES` of the foreground, as the network sees it; empty where there was none.
    """

    n_studies: int
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...] = ()
    slices: tuple[int, int]
    spacing_mm: tuple[Interval, ...] = ()
    levels: tuple[Interval, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRanges:
    """How the training studies looked.

    Args:
        n_studies: How many there were.
        n_with_text: How many of them had a text to read.
        channels: Channel name -> its range; a channel that no study had is left out.
    """

    n_studies: int
    n_with_text: int = 0
    channels: Mapping[str, ChannelRange] = field(default_factory=dict)


def training_ranges(studies: Iterable[tuple[Study, NDArray[np.float32]]], recipe: Recipe) -> TrainingRanges:
    """The ranges of the studies that a model trains on.

    Args:
        studies: Each with its prepared image, float32 `(C, I, J, K)`; never those of the validation or test split.
        recipe: How they were prepared.
    """
    looks: dict[str, list[ChannelLook]] = {rule.name: [] for rule in recipe.channels}
    n_studies = n_with_text = 0
    for study, image in studies:
        n_studies += 1
        n_with_text += bool(text_input(study, recipe))
        for name, look in looks_of(study.series, image, recipe).items():
            looks[name].append(look)
    channels = {name: _range_of(found) for name, found in looks.items() if found}
    return TrainingRanges(n_studies=n_studies, n_with_text=n_with_text, channels=channels)


def looks_of(series: Sequence[Series], image: NDArray[np.float32], recipe: Recipe) -> dict[str, ChannelLook]:
    """How each channel of a prepared study looks, by channel name; those that it lacks are left out.

    Args:
        series: The study's series.
        image: float32 `(C, I, J, K)`, prepared by the recipe.
        recipe: Names the channels.
    """
    chosen = choose_series(series, recipe.channels)
    return {
        rule.name: _look(chosen[rule.name], channel)
        for rule, channel in zip(recipe.channels, image, strict=True)
        if rule.name in chosen
    }


def _look(series: Series, channel: NDArray[np.float32]) -> ChannelLook:
    made = series.acquisition
    part = made.body_part.strip().upper()
    spacing = made.spacing_mm
    small, middle, large = sorted(spacing) if spacing is not None else (0.0, 0.0, 0.0)
    return ChannelLook(
        modality=series.modality.value,
        body_part=part if _CODED.fullmatch(part) else "",
        n_slices=slices_of(series),
        spacing_mm=None if spacing is None else (small, middle, large),
        levels=_levels(channel),
    )


def _levels(channel: NDArray[np.float32]) -> tuple[float, float, float] | None:
    """Percentiles of what lies above the smallest value, from an even sample of the voxels."""
    voxels = np.asarray(channel).reshape(-1)
    voxels = voxels[:: max(1, voxels.size // _MOST_VOXELS)]
    foreground = voxels[voxels > voxels.min()]
    if not foreground.size:
        return None
    low, middle, high = np.percentile(foreground, PERCENTILES)
    return float(low), float(middle), float(high)


def _range_of(looks: Sequence[ChannelLook]) -> ChannelRange:
    parts = [look.body_part for look in looks if look.body_part]
    slices = [look.n_slices for look in looks]
    return ChannelRange(
        n_studies=len(looks),
        modalities=tuple(sorted({look.modality for look in looks})),
        body_parts=tuple(sorted(part for part in set(parts) if parts.count(part) >= min(_LEAST_STUDIES, len(looks)))),
        slices=(min(slices), max(slices)),
        spacing_mm=_intervals([look.spacing_mm for look in looks if look.spacing_mm is not None]),
        levels=_intervals([look.levels for look in looks if look.levels is not None]),
    )


def _intervals(rows: Sequence[tuple[float, float, float]]) -> tuple[Interval, ...]:
    return tuple((float(min(column)), float(max(column))) for column in zip(*rows, strict=True))
