"""Manifest rows -> cases. A study that cannot be used is named with its reason, and the rest goes on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfuse.data.cache import CaseArrays, CaseCache, floor_of
from medfuse.data.samples import Case
from medfuse.domain.labels import LabelSet, Target
from medfuse.domain.prediction import Rejected
from medfuse.domain.references import reference_masks
from medfuse.domain.segmentation import Segmentation
from medfuse.domain.study import Study
from medfuse.errors import ManifestError, StudyError
from medfuse.ingest import read_segmentation
from medfuse.ingest.labels import TARGET_PREFIX
from medfuse.ingest.manifest import ManifestRow, study_of
from medfuse.preprocess import PreparedStudy, Recipe, prepare_study, prepare_truth
from medfuse.preprocess.text import text_input
from medfuse.tensors import IGNORED

IGNORE = "ignore"
"""Name of the region of a delineation that says that nobody knows."""

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseSet:
    """Cases by Study Instance UID, and the studies that cannot be used."""

    cases: dict[str, Case]
    rejected: tuple[Rejected, ...]


def read_cases(
    rows: Sequence[ManifestRow],
    recipe: Recipe,
    label_set: LabelSet,
    on_case: Callable[[], None] = lambda: None,
    *,
    cache: Path | None = None,
    need_labels: bool = True,
) -> CaseSet:
    """Read and prepare every study of a manifest, with its labels and its truth.

    Args:
        rows: The studies.
        recipe: How a study becomes input.
        label_set: What is predicted.
        on_case: Called after each study.
        cache: Folder of prepared studies, which are then mapped into memory; None to prepare every study in memory.
        need_labels: Whether a manifest that lacks what is predicted is refused.

    Raises:
        ManifestError: No study can be used, no study has a label of a finding, a value of a target or a mask of a
            segment, or a value is none of its target's.
    """
    targets = targets_of(rows, label_set.targets if need_labels else ())
    cases: dict[str, Case] = {}
    rejected: list[Rejected] = []
    segments_seen: set[str] = set()
    unread = 0
    kept = None if cache is None else CaseCache(cache, recipe, _written_as(label_set))
    for row in rows:
        try:
            study = study_of(row)
            make = partial(arrays_of, study, recipe, label_set)
            arrays = make() if kept is None else kept.get(study, make)
            text = text_input(study, recipe)
            unread += bool(study.reports) and not text
            segments_seen |= {label_set.segments[position] for position in arrays.segments_seen}
            cases[row.study_instance_uid] = _case(row, arrays, text, targets[row.study_instance_uid])
        except StudyError as error:
            rejected.append(
                Rejected(study_instance_uid=row.study_instance_uid, reason=error.reason, detail=error.detail)
            )
        on_case()
    _check_used(rows, cases, rejected)
    if need_labels:
        _check_labels(rows, label_set, segments_seen)
    if unread:
        sections = ", ".join(recipe.text_sections)
        LOG.warning(
            "%d of %d studies have a report and nothing under %s: they count as without text",
            unread,
            len(rows),
            sections,
        )
    return CaseSet(cases=cases, rejected=tuple(rejected))


def arrays_of(study: Study, recipe: Recipe, label_set: LabelSet) -> CaseArrays:
    """Read and prepare one study, with its truth.

    Raises:
        StudyError: The study cannot be used.
    """
    prepared = prepare_study(study, recipe)
    segments = label_set.segments
    files = study.segmentations if segments else ()
    delineations = [read_segmentation(path, on=prepared.source_grid) for path in files]
    masks = reference_masks(delineations, segments, label_set.parts)
    unknown = unknown_voxels(delineations, [part for parts in label_set.parts.values() for part in parts])
    return CaseArrays(
        image=prepared.image,
        channel_present=np.array([rule.name in prepared.series for rule in recipe.channels]),
        truth=truth_map(masks, prepared, segments, unknown, overlapping=label_set.overlapping),
        voxel_volume_ml=prepared.grid.voxel_volume_mm3 / 1000,
        floor=floor_of(prepared.image),
        segments_seen=tuple(position for position, name in enumerate(segments) if name in masks and masks[name].any()),
    )


def _written_as(label_set: LabelSet) -> tuple[str, ...]:
    """All that a label map depends on, for the cache."""
    overlapping = ("overlapping",) if label_set.overlapping else ()
    return (*label_set.segments, *overlapping, *map(repr, label_set.regions))


def unknown_voxels(delineations: Sequence[Segmentation], segments: Sequence[str]) -> NDArray[np.bool_] | None:
    """The voxels that a delineation leaves open in a region named `ignore`, which is no segment; None without one.

    Source: nnU-Net's documentation, "Ignore label".
    """
    unknown: NDArray[np.bool_] | None = None
    for delineation in delineations:
        for region in delineation.segments:
            if region.name.strip().casefold() == IGNORE and region.name not in segments:
                here = delineation.label_map == region.number
                unknown = here if unknown is None else unknown | here
    return unknown


def truth_map(
    masks: Mapping[str, NDArray[np.bool_]],
    prepared: PreparedStudy,
    segments: Sequence[str],
    unknown: NDArray[np.bool_] | None = None,
    *,
    overlapping: bool = False,
) -> NDArray[np.uint8] | None:
    """The masks as one label map on the model grid.

    Args:
        masks: On the grid of the reference series.
        prepared: The study.
        segments: Segment `n` of them becomes `n`.
        unknown: Voxels that become `IGNORED`.
        overlapping: Segment `n` becomes bit `n - 1` instead, so that a voxel may belong to several.

    Returns:
        The label map; None without masks.
    """
    if not masks:
        return None
    label_map = np.zeros(prepared.source_grid.shape, dtype=np.uint8)
    for position, name in enumerate(segments):
        if overlapping:
            label_map |= masks[name].astype(np.uint8) << position
        else:
            label_map[masks[name]] = position + 1
    if unknown is not None:
        label_map[unknown] = IGNORED
    return prepare_truth(label_map, prepared.source_grid, prepared.grid)


def targets_of(rows: Sequence[ManifestRow], targets: Sequence[Target]) -> dict[str, dict[str, float]]:
    """Study UID -> target -> position of its class or grade, or the number; what is not known is absent.

    Raises:
        ManifestError: A manifest lacks a target, or holds a value that is none of its target's.
    """
    known = sorted({name for row in rows for name in row.targets})
    for target in targets:
        if target.name not in known:
            there = f"it knows {', '.join(known)}" if known else f"it has no column {TARGET_PREFIX}<name>"
            raise ManifestError(
                f"labels.targets names {target.name!r}, which the manifest has no value for; {there}: correct the "
                f"name, or index with a column {TARGET_PREFIX}{target.name} in --labels"
            )
    return {
        row.study_instance_uid: {t.name: _number_in(row, t) for t in targets if t.name in row.targets} for row in rows
    }


def _number_in(row: ManifestRow, target: Target) -> float:
    try:
        return target.number_of(row.targets[target.name])
    except ValueError as error:
        raise ManifestError(
            f"column {TARGET_PREFIX}{target.name} of study {row.study_instance_uid}: {error}; correct the manifest, or "
            "the classes in labels.targets"
        ) from error


def _case(row: ManifestRow, arrays: CaseArrays, text: str, targets: Mapping[str, float]) -> Case:
    return Case(
        study_instance_uid=row.study_instance_uid,
        image=arrays.image,
        channel_present=arrays.channel_present,
        text=text,
        truth=arrays.truth,
        labels=dict(row.labels),
        voxel_volume_ml=arrays.voxel_volume_ml,
        floor=arrays.floor,
        targets=targets,
    )


def _check_used(rows: Sequence[ManifestRow], cases: dict[str, Case], rejected: Sequence[Rejected]) -> None:
    if not cases:
        first = f"; the first: {rejected[0].reason}: {rejected[0].detail}" if rejected else ""
        raise ManifestError(f"none of the {len(rows)} studies of the manifest can be used{first}")


def _check_labels(rows: Sequence[ManifestRow], label_set: LabelSet, segments_seen: set[str]) -> None:
    known = sorted({finding for row in rows for finding in row.labels})
    for finding in label_set.findings:
        if finding not in known:
            raise ManifestError(
                f"labels.findings names {finding!r}, which the manifest has no column for; it has "
                f"{', '.join(known) or 'no labels'}: correct the name or index with --labels"
            )
    for segment in label_set.segments:
        if segment not in segments_seen:
            raise ManifestError(
                f"labels.segments names {segment!r}, which no study's delineation shows; correct the name "
                "(it is that of the DICOM SEG's segment) or leave it out"
            )
