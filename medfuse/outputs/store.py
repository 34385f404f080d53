"""One folder a study, named by its Study Instance UID: `prediction.json`, `segmentation.nii.gz`, `seg.dcm`.

The folder appears whole. A UID names a folder only if it is digits and dots: it comes out of a file that someone else
wrote, and text is data, never a path. What cannot be written for a study (no DICOM SEG without DICOM sources, say) is
left out and said in the `notes` of `prediction.json`.
"""

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medfuse.domain import Prediction, Scored, Segmentation, Series, Study
from medfuse.errors import StudyError
from medfuse.ingest import source_datasets
from medfuse.ingest.dicom.files import quiet
from medfuse.outputs.dicom_seg import dicom_seg
from medfuse.outputs.json import prediction_json
from medfuse.outputs.masking import identity_terms, masked
from medfuse.outputs.nifti import save_nifti
from medfuse.outputs.source_grid import SourceGridError
from medfuse.storage import whole_folder

if TYPE_CHECKING:
    from pydicom import Dataset

PREDICTION_FILE = "prediction.json"
NIFTI_FILE = "segmentation.nii.gz"
SEG_FILE = "seg.dcm"

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_LENGTH = 64
_LOG = logging.getLogger(__name__)


def study_folder(directory: Path, study_instance_uid: str) -> Path:
    """The folder of a study's results.

    Raises:
        StudyError: The UID is not one (PS3.5 section 9.1: digits and dots, at most 64), so it names no folder.
    """
    if len(study_instance_uid) > _UID_LENGTH or not _UID.fullmatch(study_instance_uid):
        detail = "the Study Instance UID is not digits and dots, at most 64, so no folder can be named by it"
        raise StudyError(detail, reason="INVALID_STUDY_UID")
    return directory / study_instance_uid


def write_study_outputs(scored: Scored, study: Study, directory: Path) -> Path:
    """Write the results of one study; an older result of it is replaced once the new one is whole.

    Args:
        scored: The answer, with the label map on the grid of its source series where the model has segments.
        study: The study that was scored, for its source headers.
        directory: Where the study's folder goes.

    Returns:
        The study's folder.

    Raises:
        ValueError: `scored` is of another study, or of a series that the study does not have.
        StudyError: The study's UID cannot name a folder, or its headers can no longer be read.
        StorageError: It could not be written; nothing of it is left, and an older result is untouched.
    """
    if scored.prediction.study_instance_uid != study.study_instance_uid:
        raise ValueError("the prediction is of another study")
    folder = study_folder(directory, study.study_instance_uid)
    series = _source_series(scored, study)
    headers = [] if series is None or series.is_nifti else source_datasets(series)
    prediction = _without_identity(scored.prediction, headers)
    segmentation = scored.segmentation
    segments = () if segmentation is None else segmentation.segments
    files, notes = [PREDICTION_FILE], list[str]()
    seg = None
    if segmentation is not None:
        files.append(NIFTI_FILE)
        try:
            seg = _seg(segmentation, headers, prediction, series)
            files.append(SEG_FILE)
            if not headers[0].get("FrameOfReferenceUID"):
                notes.append(f"{SEG_FILE}: the source has no Frame of Reference UID; one was made from its series UID")
        except SourceGridError as error:
            notes.append(f"{SEG_FILE} is left out: {error.detail}")
            _LOG.warning("study %s: %s", study.study_instance_uid, notes[-1])
    with whole_folder(folder) as partial:
        if segmentation is not None:
            save_nifti(segmentation, partial / NIFTI_FILE)
        if seg is not None:
            seg.save_as(partial / SEG_FILE, enforce_file_format=True)
        text = prediction_json(prediction, segments=segments, files=files, notes=notes)
        (partial / PREDICTION_FILE).write_text(text, encoding="utf-8")
    return folder


def _source_series(scored: Scored, study: Study) -> Series | None:
    """The series whose grid the label map is on; without a label map, any DICOM series, for its headers."""
    key = scored.segmentation_series_uid
    if scored.segmentation is None:
        return next((series for series in study.series if not series.is_nifti), None)
    for series in study.series:
        if series.key == key:
            return series
    raise ValueError("the study has no series that the label map is on")


def _without_identity(prediction: Prediction, headers: Sequence["Dataset"]) -> Prediction:
    if not prediction.text_input or not headers:
        return prediction
    with quiet():
        terms = identity_terms(headers[0])
    return dataclasses.replace(prediction, text_input=masked(prediction.text_input, terms))


def _seg(
    segmentation: Segmentation, headers: Sequence["Dataset"], prediction: Prediction, series: Series | None
) -> "Dataset":
    if series is None or series.is_nifti:
        raise SourceGridError("the source is NIfTI, so there are no DICOM images that it could refer to")
    return dicom_seg(
        segmentation,
        headers,
        model=prediction.model,
        study_instance_uid=prediction.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
    )
