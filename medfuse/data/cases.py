"""Manifest rows -> cases in memory. A study that cannot be used is named with its reason, and the rest goes on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.data.samples import Case, case_of
from medfuse.domain.labels import LabelSet
from medfuse.domain.prediction import Rejected
from medfuse.domain.references import reference_masks
from medfuse.domain.study import Study
from medfuse.errors import ManifestError, StudyError
from medfuse.ingest import read_segmentation
from medfuse.ingest.manifest import ManifestRow, study_of
from medfuse.preprocess import PreparedStudy, Recipe, prepare_study, prepare_truth

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseSet:
    """Cases by Study Instance UID, and the studies that cannot be used."""

    cases: dict[str, Case]
    rejected: tuple[Rejected, ...]


def read_cases(
    rows: Sequence[ManifestRow], recipe: Recipe, label_set: LabelSet, on_case: Callable[[], None] = lambda: None
) -> CaseSet:
    """Read and prepare every study of a manifest, with its labels and its truth.

    Args:
        rows: The studies.
        recipe: How a study becomes input.
        label_set: What is predicted.
        on_case: Called after each study.

    Raises:
        ManifestError: No study can be used, or no study has a label of a finding or a mask of a segment.
    """
    cases: dict[str, Case] = {}
    rejected: list[Rejected] = []
    segments_seen: set[str] = set()
    unread = 0
    for row in rows:
        try:
            study = study_of(row)
            prepared = prepare_study(study, recipe)
            unread += bool(study.reports) and not prepared.text
            masks = true_segments(study, prepared, label_set.segments)
            segments_seen |= {name for name, mask in masks.items() if mask.any()}
            truth = truth_map(masks, prepared, label_set.segments)
            cases[row.study_instance_uid] = case_of(prepared, recipe, labels=row.labels, truth=truth)
        except StudyError as error:
            rejected.append(
                Rejected(study_instance_uid=row.study_instance_uid, reason=error.reason, detail=error.detail)
            )
        on_case()
    _check(rows, cases, rejected, label_set, segments_seen)
    if unread:
        sections = ", ".join(recipe.text_sections)
        LOG.warning(
            "%d of %d studies have a report and nothing under %s: they count as without text",
            unread,
            len(rows),
            sections,
        )
    return CaseSet(cases=cases, rejected=tuple(rejected))


def true_segments(study: Study, prepared: PreparedStudy, segments: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """The study's delineation of each segment on the grid of its reference series; empty when it has none.

    Raises:
        StudyError: A delineation cannot be read.
    """
    delineations = [read_segmentation(path, on=prepared.source_grid) for path in study.segmentations]
    return reference_masks(delineations, segments) if segments else {}


def truth_map(
    masks: Mapping[str, NDArray[np.bool_]], prepared: PreparedStudy, segments: Sequence[str]
) -> NDArray[np.uint8] | None:
    """The masks as one label map on the model grid, segment `n` of the label set as `n`; None without masks."""
    if not masks:
        return None
    label_map = np.zeros(prepared.source_grid.shape, dtype=np.uint8)
    for number, name in enumerate(segments, start=1):
        label_map[masks[name]] = number
    return prepare_truth(label_map, prepared.source_grid, prepared.grid)


def _check(
    rows: Sequence[ManifestRow],
    cases: dict[str, Case],
    rejected: Sequence[Rejected],
    label_set: LabelSet,
    segments_seen: set[str],
) -> None:
    if not cases:
        first = f"; the first: {rejected[0].reason}: {rejected[0].detail}" if rejected else ""
        raise ManifestError(f"none of the {len(rows)} studies of the manifest can be used{first}")
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
