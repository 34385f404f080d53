"""What a DICOM file is, from its header, and how files join into studies and series.

Files that can become a volume are chosen by SOP class (an allow-list), never by name. Localizers, secondary
captures and objects that are not images are counted by reason.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom.dataset import FileDataset

from medfuse.domain import Modality, Series, pseudonym
from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.files import READ_ERRORS, PixelSpan, quiet, read_header
from medfuse.ingest.uids import made_uid

Kind = Literal["image", "segmentation", "report", "other"]

_STORAGE = "1.2.840.10008.5.1.4.1.1."
IMAGE_CLASSES = {
    _STORAGE + "2": Modality.CT,
    _STORAGE + "2.1": Modality.CT,
    _STORAGE + "2.2": Modality.CT,
    _STORAGE + "4": Modality.MR,
    _STORAGE + "4.1": Modality.MR,
    _STORAGE + "4.4": Modality.MR,
    _STORAGE + "128": Modality.PT,
    _STORAGE + "128.1": Modality.PT,
    _STORAGE + "130": Modality.PT,
}
"""SOP classes that can become a volume: CT, MR and PET, classic, enhanced, and legacy converted (PS3.4 annex B)."""

SEGMENTATION_CLASSES = frozenset({_STORAGE + "66.4", _STORAGE + "66.7"})
"""Segmentation Storage and Label Map Segmentation Storage."""

REPORT_CLASSES = frozenset(_STORAGE + part for part in ("88.11", "88.22", "88.33", "88.34"))
"""Structured reports that may hold a reader's text: Basic Text, Enhanced, Comprehensive, Comprehensive 3D."""

_DICOMDIR = "1.2.840.10008.1.3.10"
_SKIP_REASONS = (
    (_STORAGE + "7", "SECONDARY_CAPTURE"),
    (_STORAGE + "88", "STRUCTURED_REPORT"),
    (_STORAGE + "104", "ENCAPSULATED_DOCUMENT"),
    (_STORAGE + "481.3", "RTSTRUCT"),
    (_STORAGE + "11", "PRESENTATION_STATE"),
    (_DICOMDIR, "DICOMDIR"),
)
_HEADER_TAGS = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "AccessionNumber",
    "Modality",
    "SeriesDescription",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "SamplesPerPixel",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One DICOM file, as far as sorting needs it. The patient's identifier is kept as a pseudonym only.

    Args:
        path: The file.
        kind: What it can serve as.
        skip_reason: Why it serves for nothing; empty if it does.
        patient_key: Pseudonym of the Patient ID; empty without one.
        identity: Equal for two copies of one instance: SOP Instance UID, position, number.
        defect: Reason code of an image without all of its pixels; empty for a whole one.
    """

    path: Path
    kind: Kind
    skip_reason: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    patient_key: str
    accession_number: str
    modality: Modality
    description: str
    number: int | None
    identity: tuple[str, str, str]
    defect: str


def read_instance(path: Path) -> Instance:
    """Read what a file is.

    Raises:
        UnreadableFileError: `NOT_DICOM`, `TRUNCATED_FILE` or `UNREADABLE_FILE`.
    """
    dataset, pixels = read_header(path, _HEADER_TAGS)
    try:
        with quiet():
            return _instance(path, dataset, pixels)
    except READ_ERRORS as error:
        raise UnreadableFileError(f"has a header that cannot be decoded ({type(error).__name__})") from error


def with_uids(instances: Sequence[Instance]) -> list[tuple[str, str, Instance]]:
    """Pair each instance with its study and series UID, made for those whose UIDs were blanked.

    Without a Study Instance UID, the files of one folder are one study; without a Series Instance UID, those of
    one folder with the same modality, number and description are one series. A made UID hashes the smallest SOP
    Instance UID of its group, so that it moves with the files.
    """
    smallest: dict[tuple[str, ...], str] = {}
    keys = []
    for instance in instances:
        folder = str(instance.path.parent)
        study = (instance.study_uid or f"folder {folder}",)
        labels = (folder, instance.kind, instance.modality, str(instance.number), instance.description)
        series = (*study, *((instance.series_uid,) if instance.series_uid else labels))
        keys.append((study, series))
        for key in (study, series):
            uid = instance.sop_instance_uid or instance.path.name
            smallest[key] = min(smallest.get(key, uid), uid)
    return [
        (
            instance.study_uid or made_uid("study", smallest[study]),
            instance.series_uid or made_uid("series", smallest[series]),
            instance,
        )
        for (study, series), instance in zip(keys, instances, strict=True)
    ]


def without_copies(members: Iterable[tuple[str, Instance]]) -> tuple[list[tuple[str, Instance]], list[Instance]]:
    """Split `(series UID, instance)` pairs into the first of each instance, and further copies of it."""
    seen: set[tuple[str, str, str]] = set()
    kept, copies = [], []
    for series, instance in members:
        if instance.sop_instance_uid and instance.identity in seen:
            copies.append(instance)
        else:
            kept.append((series, instance))
        seen.add(instance.identity)
    return kept, copies


def series_of(instances: Iterable[tuple[str, Instance]]) -> tuple[Series, ...]:
    """Make the image series of one study from `(series UID, instance)` pairs, by number, then UID."""
    members: dict[str, list[Instance]] = defaultdict(list)
    for uid, instance in instances:
        members[uid].append(instance)
    series = [_series(uid, sorted(group, key=lambda instance: instance.path)) for uid, group in members.items()]
    return tuple(sorted(series, key=lambda s: (s.number is None, s.number or 0, s.series_instance_uid)))


def _series(uid: str, members: list[Instance]) -> Series:
    modality = Counter(instance.modality for instance in members).most_common(1)[0][0]
    return Series(
        series_instance_uid=uid,
        modality=modality,
        description=next((instance.description for instance in members if instance.description), ""),
        number=next((instance.number for instance in members if instance.number is not None), None),
        files=tuple(instance.path for instance in members),
    )


def _instance(path: Path, dataset: FileDataset, pixels: PixelSpan | None) -> Instance:
    meta = getattr(dataset, "file_meta", {})
    sop_class = str(dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")
    sop_uid = str(dataset.get("SOPInstanceUID") or meta.get("MediaStorageSOPInstanceUID") or "")
    modality = str(dataset.get("Modality") or "")
    if not sop_class and not modality:
        reason = "TRUNCATED_FILE" if meta and pixels is None else "NOT_DICOM"
        raise UnreadableFileError("names neither its SOP class nor its modality", reason=reason)
    if "StudyInstanceUID" not in dataset and pixels is None and sop_class != _DICOMDIR:
        raise UnreadableFileError("ends before its study is named", reason="TRUNCATED_FILE")
    kind, skip_reason = _kind(sop_class, dataset)
    patient = str(dataset.get("PatientID") or "").strip()
    return Instance(
        path=path,
        kind=kind,
        skip_reason=skip_reason,
        sop_instance_uid=sop_uid,
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        patient_key=pseudonym(patient) if patient else "",
        accession_number=_text(dataset, "AccessionNumber"),
        modality=_modality(modality, sop_class),
        description=_text(dataset, "SeriesDescription"),
        number=_number(dataset.get("SeriesNumber")),
        identity=(sop_uid, _text(dataset, "ImagePositionPatient"), _text(dataset, "InstanceNumber")),
        defect=_defect(pixels) if kind == "image" else "",
    )


def _kind(sop_class: str, dataset: FileDataset) -> tuple[Kind, str]:
    if sop_class in SEGMENTATION_CLASSES:
        return "segmentation", ""
    if sop_class in REPORT_CLASSES:
        return "report", ""
    if sop_class not in IMAGE_CLASSES:
        reasons = (reason for start, reason in _SKIP_REASONS if f"{sop_class}.".startswith(f"{start}."))
        return "other", next(reasons, "OTHER_SOP_CLASS")
    if "LOCALIZER" in _values(dataset.get("ImageType")):
        return "other", "LOCALIZER"
    if (dataset.get("SamplesPerPixel") or 1) != 1:
        return "other", "COLOUR_IMAGE"
    return "image", ""


def _defect(pixels: PixelSpan | None) -> str:
    if pixels is None:
        return "NO_PIXEL_DATA"
    return "TRUNCATED_FILE" if pixels.is_cut else ""


def _modality(tag: str, sop_class: str) -> Modality:
    return Modality(tag) if tag in ("CT", "MR", "PT") else IMAGE_CLASSES.get(sop_class, Modality.OTHER)


def _values(value: object) -> tuple[str, ...]:
    if value is None or isinstance(value, str):
        return (value.upper(),) if value else ()
    return tuple(str(part).upper() for part in value) if isinstance(value, Iterable) else ()


def _text(dataset: FileDataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip().strip("\0")


def _number(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None
