"""Readings as DICOM SR, one document a study and reader, for an archive."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfuse.domain import Prediction
from medfuse.errors import StudyError, UsageError
from medfuse.outputs import study_folder
from medfuse.review.exports import StudyReview, study_reviews
from medfuse.review.readings import Reading

if TYPE_CHECKING:
    from medfuse.review.room import ReadingRoom

_NO_SOURCE = "NO_SOURCE"
_UNSTATED = "not stated"


def write_sr(room: "ReadingRoom", directory: Path) -> tuple[int, dict[str, str]]:
    """Write `<study_instance_uid>/sr-review-<n>.dcm` for the n-th reader of each study.

    Studies without a model's answer or without DICOM images have none, since an SR refers to both.

    Returns:
        How many were written, and for each study that was left out why.

    Raises:
        StorageError: One could not be written; those before it stand.
    """
    written, left_out = 0, dict[str, str]()
    for study in study_reviews(room):
        try:
            written += _write_study(room, study, directory)
        except (StudyError, UsageError) as error:
            left_out[study.study_instance_uid] = str(error)
    return written, left_out


def _write_study(room: "ReadingRoom", study: StudyReview, directory: Path) -> int:
    from medfuse.ingest import source_datasets

    uid = study.study_instance_uid
    prediction = room.prediction(uid)
    if prediction is None:
        raise StudyError("no model has answered, so there is nothing that a review could be about", reason=_NO_SOURCE)
    used = set(prediction.series_used.values())
    dicom = [series for series in room.study(uid).series if not series.is_nifti]
    series = next((one for one in dicom if one.key in used), next(iter(dicom), None))
    if series is None:
        raise StudyError("the images are not DICOM, so an SR has nothing to refer to", reason=_NO_SOURCE)
    headers = source_datasets(series)
    folder = study_folder(directory, uid)
    for number, reading in enumerate(study.readings.values(), start=1):
        _write_reading(room, prediction, reading, headers, folder / f"sr-review-{number}.dcm")
    return len(study.readings)


def _write_reading(
    room: "ReadingRoom", prediction: Prediction, reading: Reading, headers: Sequence[Any], path: Path
) -> None:
    from medfuse.outputs import SignOff, write_review_sr

    uid = prediction.study_instance_uid
    signed = reading.signed
    organization = room.policy.organization or _UNSTATED
    write_review_sr(
        tuple(reading.decisions.values()),
        prediction,
        headers,
        path,
        reviewer=reading.reviewer,
        segmentation=_segmentation(room, uid, reading),
        predecessor=room.model_sr(uid),
        signed_off=SignOff(organization=organization, at=_moment(signed.created_at)) if signed else None,
    )


def _segmentation(room: "ReadingRoom", uid: str, reading: Reading) -> Path | None:
    """The DICOM SEG that the decisions are about: the reader's last corrected one, or the model's."""
    masks = [review.mask_sha256 for review in reading.decisions.values() if review.mask_sha256]
    corrected = [path for path in map(room.masks.path, masks) if path.suffix == ".dcm"]
    return corrected[-1] if corrected else room.model_seg(uid)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
