"""The fingerprint: what a data set is like, in numbers, without a patient identifier or a word of a report."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import pi
from pathlib import Path

import numpy as np

from medfuse.domain.labels import TargetKind
from medfuse.domain.study import Modality
from medfuse.planning.device import Device
from medfuse.storage import write_file

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]

SCHEMA_VERSION = 1
"""Version of the JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The grid of a study's reference series, its axes in the order of those nearest to L, P and S.

    Args:
        spacing_mm: Distance between neighbouring voxels.
        shape: Voxels along each axis.
    """

    spacing_mm: Triple
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensities:
    """The values of a channel in the foreground, over all studies looked at.

    Args:
        foreground: Whether the voxels lie inside the segments, or outside the air.
        low: The 0.5th percentile.
        median: The 50th.
        high: The 99.5th.
        body_low: The 0.5th percentile of all voxels outside the air, whatever the foreground.
        body_high: Their 99.5th.
    """

    foreground: str
    low: float
    median: float
    high: float
    body_low: float
    body_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPrint:
    """An input channel that the studies offer.

    Args:
        name: Its name.
        preset: The preset that finds it; empty where the modality alone does.
        modality: Its modality.
        studies: How many of the studies looked at have it.
        intensities: Its values; None where no voxel was read.
    """

    name: str
    preset: str
    modality: Modality
    studies: int
    intensities: Intensities | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentPrint:
    """A region that delineations name.

    Args:
        name: Its name.
        studies: How many of the delineated studies looked at show it.
        median_ml: Median volume where it is there.
        small_ml: 10th percentile of its volume where it is there.
    """

    name: str
    studies: int
    median_ml: float
    small_ml: float

    @property
    def small_mm(self) -> float:
        """How far across a small one is, as a ball of that volume."""
        return float((6 * self.small_ml * 1000 / pi) ** (1 / 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPrint:
    """A class, a grade or a number that the manifest knows of enough studies.

    Args:
        name: Its name.
        kind: What its values are.
        known: Studies of the whole manifest that it is known of.
        counts: Class or grade, in order -> studies; empty for a number.
        low: Smallest value of a number.
        high: Largest value of a number.
    """

    name: str
    kind: TargetKind
    known: int
    counts: Mapping[str, int] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPrint:
    """The reports of the studies looked at.

    Args:
        with_report: Studies with a report.
        with_input: Studies with text under INDICATION, HISTORY or TECHNIQUE, which a model may read.
        without_headings: Studies whose reports have no heading at all.
        sections: Section -> studies that have it.
        median_words: Median length of the text that a model may read.
        long_words: Its 90th percentile.
        languages: Language of the report -> studies.
    """

    with_report: int = 0
    with_input: int = 0
    without_headings: int = 0
    sections: Mapping[str, int] = field(default_factory=dict)
    median_words: int = 0
    long_words: int = 0
    languages: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What a data set is like.

    Args:
        studies: Rows of the manifest.
        patients: Different patients among them.
        looked_at: Studies whose files were read; the other figures below are theirs, but for the findings.
        unusable: Reason -> studies looked at that cannot be used for it.
        findings: Finding -> label value -> studies of the whole manifest.
        targets: Classes, grades and numbers of the whole manifest.
        left_out_targets: Target -> why it is none of them.
        channels: Input channels, in order; the first is the reference.
        rare_channels: Preset -> studies, of what too few studies have for a channel.
        grids: One a study that can be used, sorted.
        delineated: Studies with a delineation.
        several_delineations: Whether some study has more than one file of them.
        segments: Regions, in the order of a label map.
        rare_segments: Region -> studies, of what too few delineated studies show.
        text: The reports.
        seconds_a_study: How long reading one took here; no part of any rule but the time budget's.
        device: The machine.
    """

    studies: int
    patients: int
    looked_at: int
    unusable: Mapping[str, int] = field(default_factory=dict)
    findings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    targets: tuple[TargetPrint, ...] = ()
    left_out_targets: Mapping[str, str] = field(default_factory=dict)
    channels: tuple[ChannelPrint, ...]
    rare_channels: Mapping[str, int] = field(default_factory=dict)
    grids: tuple[Grid, ...]
    delineated: int = 0
    several_delineations: bool = False
    segments: tuple[SegmentPrint, ...] = ()
    rare_segments: Mapping[str, int] = field(default_factory=dict)
    text: TextPrint = TextPrint()
    seconds_a_study: float = 0.0
    device: Device

    @property
    def usable(self) -> int:
        """Studies looked at that can be used."""
        return len(self.grids)

    @property
    def spacings_mm(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Spacings, shape `(studies, 3)`."""
        return np.array([grid.spacing_mm for grid in self.grids], dtype=np.float64)

    @property
    def shapes(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Shapes, shape `(studies, 3)`."""
        return np.array([grid.shape for grid in self.grids], dtype=np.float64)

    def shapes_at(self, spacing_mm: Triple) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """The studies' shapes once resampled, shape `(studies, 3)`."""
        resampled = np.maximum(1, np.floor(self.shapes * self.spacings_mm / np.asarray(spacing_mm) + 1e-3))
        return np.asarray(resampled, dtype=np.float64)


def write_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Write a fingerprint as JSON, whole or not at all; how long reading took is left out, so that it repeats.

    Raises:
        StorageError: It cannot be written.
    """
    document = {"schema_version": SCHEMA_VERSION, **asdict(fingerprint)}
    del document["seconds_a_study"]
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))
