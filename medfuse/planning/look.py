"""Looking at studies: the rows of a manifest -> a fingerprint."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.report import SAFE_SECTIONS, SectionName
from medfuse.domain.segmentation import Segment
from medfuse.domain.study import Modality, Study
from medfuse.domain.volume import Volume
from medfuse.errors import ManifestError, StudyError
from medfuse.ingest import ManifestRow, read_segmentation, read_volume, study_of
from medfuse.ingest.reports.languages import language_of
from medfuse.planning.channels import Offer, offered_channels, series_of
from medfuse.planning.device import Device
from medfuse.planning.fingerprint import (
    ChannelPrint,
    Fingerprint,
    Grid,
    Intensities,
    TextPrint,
)
from medfuse.planning.regions import Regions
from medfuse.planning.targets import target_prints
from medfuse.preprocess.grid import model_grid, turned_spacing_mm
from medfuse.seeding import stream

MOST_STUDIES = 200
"""Studies that are read at most, drawn from the manifest; medians and percentiles need no more."""
VOXELS_A_STUDY = 10_000
"""Voxels of a channel that are kept of a study, drawn from its foreground (nnU-Net draws as many)."""
AIR_HU = -950.0
"""CT values up to here are air outside the patient, or nothing at all."""
PERCENTILES = (0.5, 50.0, 99.5)


def look_at(
    rows: Sequence[ManifestRow],
    device: Device,
    *,
    most: int = MOST_STUDIES,
    on_study: Callable[[], None] = lambda: None,
) -> Fingerprint:
    """The fingerprint of the studies of a manifest. The same rows give the same fingerprint.

    Args:
        rows: The studies.
        device: The machine to plan for.
        most: Studies to read at most.
        on_study: Called after each.

    Raises:
        ManifestError: None of the studies looked at can be used.
    """
    started = time.monotonic()
    drawn = _drawn(rows, most)
    seen = _Seen()
    studies = [study for row in drawn if (study := seen.find(row)) is not None]
    for _ in range(len(drawn) - len(studies)):
        on_study()
    with_images = [study for study in studies if study.series]
    offers, rare = offered_channels(with_images) if with_images else ((), {})
    for number, study in enumerate(studies):
        seen.look(study, offers, number)
        on_study()
    if not seen.grids:
        first = next(iter(seen.unusable), "no study has an image series")
        raise ManifestError(
            f"none of the {len(drawn)} studies looked at can be used ({first}); medfuse inspect STUDY shows why"
        )
    segments, rare_segments = seen.regions.common(seen.delineated)
    targets, left_out = target_prints(rows)
    return Fingerprint(
        studies=len(rows),
        patients=len({row.patient_key for row in rows}),
        looked_at=len(drawn),
        unusable=dict(sorted(seen.unusable.items())),
        findings=_findings(rows),
        targets=targets,
        left_out_targets=left_out,
        channels=tuple(seen.channel(offer) for offer in offers),
        rare_channels=dict(rare),
        grids=tuple(sorted(seen.grids, key=lambda grid: (grid.shape, grid.spacing_mm))),
        delineated=seen.delineated,
        several_delineations=seen.several,
        segments=segments,
        rare_segments=rare_segments,
        text=seen.text(),
        seconds_a_study=(time.monotonic() - started) / len(drawn),
        device=device,
    )


def _drawn(rows: Sequence[ManifestRow], most: int) -> list[ManifestRow]:
    """At most so many rows, the same whatever order the manifest is in."""
    ordered = sorted(rows, key=lambda row: row.study_instance_uid)
    if len(ordered) <= most:
        return ordered
    return [ordered[place] for place in sorted(stream(0, "plan").permutation(len(ordered))[:most].tolist())]


def _findings(rows: Sequence[ManifestRow]) -> dict[str, dict[str, int]]:
    names = dict.fromkeys(name for row in rows for name in row.labels)
    return {
        name: dict(sorted(Counter(row.labels[name].value for row in rows if name in row.labels).items()))
        for name in names
    }


@dataclass(slots=True)
class _Seen:
    """What was seen so far."""

    unusable: Counter[str] = field(default_factory=Counter)
    grids: list[Grid] = field(default_factory=list)
    filled: Counter[str] = field(default_factory=Counter)
    inside: defaultdict[str, list[NDArray[np.float32]]] = field(default_factory=lambda: defaultdict(list))
    body: defaultdict[str, list[NDArray[np.float32]]] = field(default_factory=lambda: defaultdict(list))
    delineated: int = 0
    several: bool = False
    regions: Regions = field(default_factory=Regions)
    with_report: int = 0
    without_headings: int = 0
    sections: Counter[str] = field(default_factory=Counter)
    words: list[int] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)

    def find(self, row: ManifestRow) -> Study | None:
        """The study of a row, or None where it cannot be used."""
        try:
            return study_of(row)
        except StudyError as error:
            self.unusable[error.reason] += 1
            return None

    def look(self, study: Study, offers: Sequence[Offer], number: int) -> None:
        """Read one study."""
        try:
            self._images(study, offers, number)
        except StudyError as error:
            self.unusable[error.reason] += 1
            return
        if study.reports:
            self._reports(study)

    def _images(self, study: Study, offers: Sequence[Offer], number: int) -> None:
        chosen = series_of(study, offers)
        if not chosen:
            raise StudyError("no series fits a channel", reason="NO_FITTING_SERIES")
        volumes = {name: read_volume(series, upright=False) for name, series in chosen.items()}
        reference = next(iter(volumes.values()))
        mask, regions = _delineation(study, reference)
        turned = turned_spacing_mm(reference.geometry)
        self.grids.append(Grid(spacing_mm=_rounded(turned), shape=model_grid(reference.geometry, turned).shape))
        self.filled.update(volumes.keys())
        if mask is not None:
            self.delineated += 1
            self.several |= len(study.segmentations) > 1
            self.regions.add(regions)
        modality = {offer.name: offer.modality for offer in offers}
        for name, volume in volumes.items():
            random = stream(0, "plan", number, name)
            body = volume.voxels[_outside_air(volume, modality[name])]
            self.body[name].append(_some(body, random))
            if mask is not None and mask.any() and volume.geometry.shape == mask.shape:
                self.inside[name].append(_some(volume.voxels[mask], random))

    def _reports(self, study: Study) -> None:
        self.with_report += 1
        names = {section.name for report in study.reports for section in report.sections}
        self.sections.update(sorted(name.value for name in names))
        self.without_headings += names <= {SectionName.OTHER}
        text = " ".join(report.select(SAFE_SECTIONS) for report in study.reports)
        if text.strip():
            self.words.append(len(text.split()))
        self.languages[language_of(" ".join(report.text for report in study.reports))] += 1

    def channel(self, offer: Offer) -> ChannelPrint:
        """What was seen of a channel."""
        return ChannelPrint(
            name=offer.name,
            preset=offer.preset,
            modality=offer.modality,
            studies=self.filled[offer.name],
            intensities=self._intensities(offer.name),
        )

    def _intensities(self, name: str) -> Intensities | None:
        if not self.body[name]:
            return None
        body = np.concatenate(self.body[name])
        within = np.concatenate(self.inside[name]) if self.inside[name] else body
        if not body.size or not within.size:
            return None
        low, middle, high = (round(float(value), 3) for value in np.percentile(within, PERCENTILES))
        body_low, _, body_high = (round(float(value), 3) for value in np.percentile(body, PERCENTILES))
        where = "inside the segments" if self.inside[name] else "outside the air"
        return Intensities(foreground=where, low=low, median=middle, high=high, body_low=body_low, body_high=body_high)

    def text(self) -> TextPrint:
        """What was seen of the reports."""
        return TextPrint(
            with_report=self.with_report,
            with_input=len(self.words),
            without_headings=self.without_headings,
            sections=dict(sorted(self.sections.items())),
            median_words=round(median(self.words)) if self.words else 0,
            long_words=round(float(np.percentile(self.words, 90))) if self.words else 0,
            languages=dict(sorted(self.languages.items())),
        )


def _delineation(study: Study, reference: Volume) -> tuple[NDArray[np.bool_] | None, list[tuple[Segment, float]]]:
    """Where anything is delineated, and each region with its volume in ml."""
    mask: NDArray[np.bool_] | None = None
    regions: list[tuple[Segment, float]] = []
    for path in study.segmentations:
        found = read_segmentation(path, on=reference.geometry)
        mask = (found.label_map > 0) | (False if mask is None else mask)
        regions += [(one, found.volume_mm3(one) / 1000) for one in found.segments]
    return mask, regions


def _outside_air(volume: Volume, modality: Modality) -> NDArray[np.bool_]:
    floor = AIR_HU if modality is Modality.CT else float(volume.voxels.min())
    return np.asarray(volume.voxels > floor)


def _some(values: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """At most `VOXELS_A_STUDY` of the values."""
    if values.size <= VOXELS_A_STUDY:
        return values.astype(np.float32)
    return np.asarray(values[random.integers(0, values.size, VOXELS_A_STUDY)], dtype=np.float32)


def _rounded(spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    first, second, third = (round(float(value), 4) for value in spacing_mm)
    return first, second, third
