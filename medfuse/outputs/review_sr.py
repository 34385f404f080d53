"""What a reader said of a result, as a DICOM Structured Report (TID 1500) with a person as its observer.

A group each decision: what it is about, the verdict, what the reader holds to be right, and the comment. The document
is UNVERIFIED and preliminary until the reader signed it off; then, and only then, it is VERIFIED by that person.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfuse.domain import Code, LabelValue, Prediction, Review, SubjectKind
from medfuse.ingest.dicom.files import quiet
from medfuse.outputs import report_codes as words
from medfuse.outputs.dicom_sr import (
    comment_item,
    device_observer,
    evaluation,
    evidence_of,
    group,
    measurement_report,
    structured_report,
)
from medfuse.outputs.edited_seg import read_dicom, write_dicom
from medfuse.outputs.equipment import person_name, text
from medfuse.outputs.json import RESEARCH_USE
from medfuse.outputs.measurements import SegmentMeasurement
from medfuse.outputs.report_codes import finding_code, private_code
from medfuse.outputs.segment_groups import number, segment_group

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_KIND = 6
SERIES_DESCRIPTION = "medfuse, a reader's verdict (research use)"

_VALUES = {
    LabelValue.PRESENT.value: words.PRESENT,
    LabelValue.ABSENT.value: words.ABSENT,
    LabelValue.UNCERTAIN.value: words.UNDETERMINED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOff:
    """That a person answers for a reading.

    Args:
        organization: Verifying Organization (0040,A027).
        at: When, with its time zone.
    """

    organization: str
    at: datetime

    def __post_init__(self) -> None:
        if not self.organization.strip() or self.at.tzinfo is None:
            raise ValueError("a sign-off names an organization and a time with its zone")


def review_sr(
    reviews: Sequence[Review],
    prediction: Prediction,
    source_datasets: Sequence["Dataset"],
    *,
    reviewer: str,
    segmentation: "Dataset | None" = None,
    measurements: Sequence[SegmentMeasurement] = (),
    predecessor: "Dataset | None" = None,
    signed_off: SignOff | None = None,
) -> "Dataset":
    """Build the report of one reader's reading of one study.

    Args:
        reviews: The standing decisions of the reader, each subject once.
        prediction: What they are about.
        source_datasets: Headers of the source series, pixels not needed.
        reviewer: Who read, as that person signs.
        segmentation: The DICOM SEG that the decisions on segments are about: the model's, or the edited one.
        measurements: Of the segments of `segmentation`, in their order; may be empty.
        predecessor: The report that this one answers or replaces.
        signed_off: The sign-off; None before it.

    Raises:
        SourceGridError: There are no source headers, or they lack a UID that the report has to refer to.
        ValueError: No reviewer is named, or a decision is another reader's or of another study.
    """
    _check(reviews, prediction, reviewer)
    with quiet():
        uids: dict[str, str | None] = {"StudyInstanceUID": prediction.study_instance_uid, "SeriesInstanceUID": None}
        uids["SeriesInstanceUID"] = next(iter(prediction.series_used.values()), "").partition("/")[0] or None
        evidence = evidence_of(source_datasets, segmentation, uids)
        modality = str(evidence[0].get("Modality") or "")
        items = {} if segmentation is None else _items(segmentation, measurements)
        groups = [_group(review, items, segmentation, modality, prediction) for review in reviews]
        observers = [_person(reviewer), device_observer(prediction.model)]
        content = measurement_report(groups, observers, evidence, comments=[RESEARCH_USE])
        document = structured_report(
            content,
            evidence,
            source_datasets[0],
            series_description=SERIES_DESCRIPTION,
            series_kind=SERIES_KIND,
            model=prediction.model,
            previous_versions=None if predecessor is None else [predecessor],
            **_verification(reviewer, signed_off),
        )
        if signed_off is not None:
            at = signed_off.at.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
            document.VerifyingObserverSequence[0].VerificationDateTime = at
    return document


def write_review_sr(
    reviews: Sequence[Review],
    prediction: Prediction,
    source_datasets: Sequence["Dataset"],
    path: Path,
    *,
    reviewer: str,
    segmentation: Path | None = None,
    measurements: Sequence[SegmentMeasurement] = (),
    predecessor: Path | None = None,
    signed_off: SignOff | None = None,
) -> None:
    """Write what `review_sr` builds, whole or not at all; `segmentation` and `predecessor` are files.

    Raises:
        SourceGridError: There are no source headers, or they lack a UID that the report has to refer to.
        StorageError: The file could not be written.
    """
    document = review_sr(
        reviews,
        prediction,
        source_datasets,
        reviewer=reviewer,
        segmentation=read_dicom(segmentation),
        measurements=measurements,
        predecessor=read_dicom(predecessor),
        signed_off=signed_off,
    )
    write_dicom(document, path)


def _check(reviews: Iterable[Review], prediction: Prediction, reviewer: str) -> None:
    if not reviewer.strip():
        raise ValueError("a report of a reading names who read")
    for review in reviews:
        if review.reviewer != reviewer:
            raise ValueError("a decision is another reader's; one report holds one reader's")
        if review.study_instance_uid != prediction.study_instance_uid:
            raise ValueError("a decision is of another study")


def _items(
    segmentation: "Dataset", measurements: Sequence[SegmentMeasurement]
) -> dict[str, tuple["Dataset", SegmentMeasurement | None]]:
    measured = {one.name: one for one in measurements}
    labels = {str(item.SegmentLabel): item for item in segmentation.SegmentSequence}
    return {label: (item, measured.get(label)) for label, item in labels.items()}


def _group(
    review: Review,
    items: dict[str, tuple["Dataset", SegmentMeasurement | None]],
    segmentation: "Dataset | None",
    modality: str,
    prediction: Prediction,
) -> Any:
    name = review.subject or "study"
    evaluations = [] if review.verdict is None else [evaluation(private_code("verdict"), private_code(review.verdict))]
    measured: list[Any] = []
    kind = _kind(review, prediction, items)
    if review.value:
        _add_value(review, kind, prediction, measured, evaluations)
    if kind is SubjectKind.SEGMENT and segmentation is not None and name in items:
        item, measure = items[name]
        made = segment_group(segmentation, item, measure, modality, None, evaluations)
    else:
        made = group(name, _type(name, kind), measured, evaluations)
    if review.comment.strip():
        made[0].ContentSequence.append(comment_item(review.comment))
    return made


def _kind(review: Review, prediction: Prediction, items: Iterable[str]) -> SubjectKind:
    """What a review is about; reviews of older versions kept the name alone."""
    if review.subject_kind is not SubjectKind.UNKNOWN:
        return review.subject_kind
    known = {
        SubjectKind.FINDING: {finding.name for finding in prediction.findings},
        SubjectKind.TARGET: {target.name for target in prediction.targets},
        SubjectKind.SEGMENT: set(items),
    }
    return next((kind for kind, names in known.items() if review.subject in names), SubjectKind.FINDING)


def _type(name: str, kind: SubjectKind) -> Code:
    return finding_code(name) if kind is SubjectKind.FINDING else private_code(name)


def _add_value(
    review: Review, kind: SubjectKind, prediction: Prediction, measured: list[Any], evaluations: list[Any]
) -> None:
    """What the reader holds to be right: presence of a finding, a class, or a number with its unit."""
    name = review.subject or "study"
    if kind is SubjectKind.FINDING and review.value in _VALUES:
        evaluations.append(evaluation(words.PRESENCE, _VALUES[review.value]))
        return
    target = next((one for one in prediction.targets if one.name == name), None)
    if target is not None and not target.classes:
        measured.append(number(private_code(name), float(review.value), words.unit_code(target.unit)))
        return
    evaluations.append(evaluation(private_code("value"), private_code(review.value)))


def _person(reviewer: str) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    attributes = hd.sr.PersonObserverIdentifyingAttributes(name=person_name(reviewer))
    return hd.sr.ObserverContext(observer_type=codes.DCM.Person, observer_identifying_attributes=attributes)


def _verification(reviewer: str, signed_off: SignOff | None) -> dict[str, Any]:
    if signed_off is None:
        return {"is_verified": False, "is_final": False}
    return {
        "is_verified": True,
        "is_final": True,
        "verifying_observer_name": person_name(reviewer),
        "verifying_organization": text(signed_off.organization, fallback="unknown"),
    }
