"""What a DICOM file is, from its header, and how files join into studies, series and volumes.

Files that can become a volume are chosen by SOP class (an allow-list), never by name. Localizers, projections and
screenshots, secondary captures and objects that are not images are counted by reason. What is derived and still lies
on a regular grid (reformats, subtractions, ADC and other maps) is a volume like any other: ImageType DERIVED says
nothing about whether it can be used, and converted or de-identified originals carry it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from medfuse.domain import Modality, Series, pseudonym
from medfuse.errors import UnreadableFileError, UnreadableSeriesError
from medfuse.ingest.dicom.files import READ_ERRORS, DicomFile, PixelSpan, open_file, quiet
from medfuse.ingest.dicom.frames import Frame, frames_of
from medfuse.ingest.dicom.header import Header, KnownHeader, PlainHeader
from medfuse.ingest.dicom.split import parts_of
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

SEGMENTATION_CLASSES = frozenset({_STORAGE + "66.4", _STORAGE + "66.7", _STORAGE + "481.3"})
"""Segmentation Storage, Label Map Segmentation Storage and RT Structure Set Storage."""

REPORT_CLASSES = frozenset(_STORAGE + part for part in ("88.11", "88.22", "88.33", "88.34", "88.35"))
"""Structured reports that may hold a reader's text: Basic Text, Enhanced, Comprehensive (3D), Extensible."""

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
"""Media Storage Directory Storage."""

_SKIP_REASONS = (
    (_STORAGE + "7", "SECONDARY_CAPTURE"),
    (_STORAGE + "88", "STRUCTURED_REPORT"),
    (_STORAGE + "104", "ENCAPSULATED_DOCUMENT"),
    (_STORAGE + "11", "PRESENTATION_STATE"),
    (DICOMDIR_CLASS, "DICOMDIR"),
)
_NO_SLICES = frozenset(
    {
        "MIP",
        "MINIP",
        "MNIP",
        "PROJECTION IMAGE",
        "PROJECTION",
        "RENDERING",
        "VOLUME RENDERING",
        "VOLREN",
        "VRT",
        "SSD",
        "SCREEN SAVE",
        "SCREENSAVE",
        "SCREENSHOT",
        "POSDISP",
        "DOSE_INFO",
    }
)
"""Words of an Image Type (0008,0008) that say: a picture of a volume, not its slices."""

_PADDING = " \0\t\r\n"
_MODALITIES = {"CT": Modality.CT, "MR": Modality.MR, "PT": Modality.PT}
_pseudonym = lru_cache(maxsize=4096)(pseudonym)


class Instance(NamedTuple):
    """One DICOM file, as far as sorting needs it. The patient's identifier is kept as a pseudonym only.

    Args:
        path: The file.
        kind: What it can serve as.
        skip_reason: Why it serves for nothing; empty if it does.
        patient_key: Pseudonym of the Patient ID; empty without one.
        identity: Equal for two copies of one instance: SOP Instance UID, position, number.
        defect: Reason code of an image without all of its pixels; empty for a whole one.
        frames: The slices of an image; empty where `refusal` says why there are none.
        refusal: Why an image has no place in a volume, or None.
        file: Where its header is plain, the file with what was read of it, so that a cache may keep that; else None.
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
    identity: tuple[object, ...]
    defect: str = ""
    frames: Sequence[Frame] = ()
    refusal: UnreadableSeriesError | None = None
    file: DicomFile | None = None


def read_instance(path: Path) -> Instance:
    """Read what a file is.

    Raises:
        UnreadableFileError: `NOT_DICOM`, `TRUNCATED_FILE` or `UNREADABLE_FILE`.
    """
    return instance_of(open_file(path))


def instance_of(file: DicomFile) -> Instance:
    """What an opened file is.

    Raises:
        UnreadableFileError: `NOT_DICOM`, `TRUNCATED_FILE` or `UNREADABLE_FILE`.
    """
    try:
        if isinstance(file.header, PlainHeader | KnownHeader):
            return _instance(file)
        with quiet():
            return _instance(file)
    except READ_ERRORS as error:
        raise UnreadableFileError(f"has a header that cannot be decoded ({type(error).__name__})") from error


def with_uids(instances: Sequence[Instance]) -> list[tuple[str, str, Instance]]:
    """Pair each instance with its study and series UID, made for those whose UIDs were blanked.

    Without a Study Instance UID, the files of one folder are one study; without a Series Instance UID, those of
    one folder with the same modality, number and description are one series. A made UID hashes the smallest SOP
    Instance UID of its group, so that it moves with the files.
    """
    if all(instance.study_uid and instance.series_uid for instance in instances):
        return [(instance.study_uid, instance.series_uid, instance) for instance in instances]
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


def with_one_study(instances: Sequence[Instance]) -> tuple[list[Instance], dict[str, tuple[str, ...]]]:
    """Give one Study Instance UID to the files of a series in which each file has another one.

    Some writers of research data make a new study UID for every file. Files of one series and patient belong
    together where every one of them names a study of its own.

    Returns:
        The instances, and for each study that was put together a line that says so.
    """
    named: dict[str, set[str]] = defaultdict(set)
    for instance in instances:
        named[instance.series_uid].add(instance.study_uid)
    if all(len(studies) == 1 for studies in named.values()):
        return list(instances), {}
    groups: dict[tuple[str, str], list[Instance]] = defaultdict(list)
    keys = [(instance.series_uid, instance.patient_key) for instance in instances]
    for key, instance in zip(keys, instances, strict=True):
        groups[key].append(instance)
    studies = {
        key: min(group, key=_place_in_series).study_uid
        for key, group in groups.items()
        if key[0] and 1 < len(group) == len({instance.study_uid for instance in group})
    }
    lines: dict[str, tuple[str, ...]] = {}
    for key, study in studies.items():
        line = f"INCONSISTENT_STUDY_UID: series {key[0]}: its {len(groups[key])} files name a study each; taken as one"
        lines[study] = (*lines.get(study, ()), line)
    made = [
        instance._replace(study_uid=studies[key]) if key in studies else instance
        for key, instance in zip(keys, instances, strict=True)
    ]
    return made, lines


def _place_in_series(instance: Instance) -> tuple[str, ...]:
    """An order of the files of a series that new UIDs do not change."""
    _, position, number = instance.identity
    return str(position), str(number), instance.study_uid


def without_copies(members: Iterable[tuple[str, Instance]]) -> tuple[list[tuple[str, Instance]], list[Instance]]:
    """Split `(series UID, instance)` pairs into the first of each instance, and further copies of it."""
    seen: set[tuple[object, ...]] = set()
    kept, copies = [], []
    for series, instance in members:
        if instance.sop_instance_uid and instance.identity in seen:
            copies.append(instance)
        else:
            kept.append((series, instance))
        seen.add(instance.identity)
    return kept, copies


def series_of(instances: Iterable[tuple[str, Instance]]) -> tuple[tuple[Series, ...], tuple[str, ...]]:
    """Make the volumes of one study from `(series UID, instance)` pairs.

    Returns:
        One series a volume, by number, UID and part; and one `REASON: series <uid>[/<part>]: detail` line for each
        series or part of one that cannot become a volume.
    """
    members: dict[str, list[Instance]] = defaultdict(list)
    for uid, instance in instances:
        members[uid].append(instance)
    series: list[Series] = []
    lines: list[str] = []
    for uid, group in sorted(members.items()):
        made, refused = _volumes(uid, sorted(group, key=lambda instance: str(instance.path)))
        series += made
        lines += refused
    # sorted() is stable: the parts of a series stay in the order of their names.
    ordered = sorted(series, key=lambda one: (one.number is None, one.number or 0, one.series_instance_uid))
    return tuple(ordered), tuple(lines)


def _volumes(uid: str, members: list[Instance]) -> tuple[list[Series], list[str]]:
    """The volumes of one DICOM series, and a line for each that is none."""
    refusal = next((instance.refusal for instance in members if instance.refusal is not None), None)
    if refusal is not None:
        return [], [_line(refusal, uid)]
    frames = [frame for instance in members for frame in instance.frames]
    try:
        parts = parts_of(frames)
    except UnreadableSeriesError as error:
        return [], [_line(error, uid)]
    modality = Counter(instance.modality for instance in members).most_common(1)[0][0]
    description = next((instance.description for instance in members if instance.description), "")
    number = next((instance.number for instance in members if instance.number is not None), None)
    series = [
        Series(
            series_instance_uid=uid,
            part=part.name,
            modality=modality,
            description=description,
            number=number,
            files=part.files,
            acquisition=part.acquisition,
        )
        for part in parts
        if part.stack is not None
    ]
    lines = [_line(part.refusal, f"{uid}/{part.name}" if part.name else uid) for part in parts if part.refusal]
    return series, lines


def _line(refusal: UnreadableSeriesError, key: str) -> str:
    return f"{refusal.reason}: series {key}: {refusal.detail}"


def _instance(file: DicomFile) -> Instance:
    path, header, span, _, _, sop_class, sop_uid = file
    get = header.get
    modality = _text(get("Modality"))
    if not sop_class and not modality:
        plain = isinstance(header, PlainHeader | KnownHeader) or bool(getattr(header, "file_meta", None))
        raise UnreadableFileError(
            "names neither its SOP class nor its modality",
            reason="TRUNCATED_FILE" if plain and span is None else "NOT_DICOM",
        )
    if span is None and "StudyInstanceUID" not in header and sop_class != DICOMDIR_CLASS:
        raise UnreadableFileError("ends before its study is named", reason="TRUNCATED_FILE")
    kind, skip_reason = _kind(sop_class, modality, header)
    defect = _defect(span) if kind == "image" else ""
    frames: Sequence[Frame] = ()
    refusal = None
    if kind == "image" and defect != "NO_PIXEL_DATA":
        try:
            frames = frames_of(path, header)
        except UnreadableSeriesError as error:
            refusal = error
    position = get("ImagePositionPatient")
    patient = _text(get("PatientID"))
    return Instance(
        path,
        kind,
        skip_reason,
        sop_uid,
        _text(get("StudyInstanceUID")),
        _text(get("SeriesInstanceUID")),
        _pseudonym(patient) if patient else "",
        _text(get("AccessionNumber")),
        _MODALITIES.get(modality) or IMAGE_CLASSES.get(sop_class, Modality.OTHER),
        _text(get("SeriesDescription")),
        _number(get("SeriesNumber")),
        (
            sop_uid,
            position if position is None or isinstance(position, str) else tuple(position),
            _text(get("InstanceNumber")),
        ),
        defect,
        frames,
        refusal,
        _without_bytes(file),
    )


def _without_bytes(file: DicomFile) -> DicomFile | None:
    """A plain file with what was asked of its header, and without the bytes, which would fill the memory."""
    header = file.header
    if isinstance(header, PlainHeader):
        path, _, span, syntax, little_endian, sop_class, sop_uid = file
        return DicomFile(path, KnownHeader(header.values), span, syntax, little_endian, sop_class, sop_uid)
    return file if isinstance(header, KnownHeader) else None


def _kind(sop_class: str, modality: str, header: Header) -> tuple[Kind, str]:
    if sop_class in SEGMENTATION_CLASSES:
        return "segmentation", ""
    if sop_class in REPORT_CLASSES:
        return "report", ""
    if sop_class not in IMAGE_CLASSES and (sop_class or modality not in _MODALITIES):
        reasons = (reason for start, reason in _SKIP_REASONS if f"{sop_class}.".startswith(f"{start}."))
        return "other", next(reasons, "OTHER_SOP_CLASS")
    image_type = header.get("ImageType")
    reason = _picture_reason(image_type if image_type is None or isinstance(image_type, str) else tuple(image_type))
    if reason:
        return "other", reason
    if (header.get("SamplesPerPixel") or 1) != 1:
        return "other", "COLOUR_IMAGE"
    return "image", ""


def _defect(pixels: PixelSpan | None) -> str:
    if pixels is None:
        return "NO_PIXEL_DATA"
    return "TRUNCATED_FILE" if pixels.is_cut else ""


@lru_cache(maxsize=1024)
def _picture_reason(image_type: str | tuple[object, ...] | None) -> str:
    """Why an Image Type says that there are no slices of a volume; empty where it does not."""
    values = (image_type,) if isinstance(image_type, str) else image_type or ()
    words = {str(value).upper() for value in values}
    if "LOCALIZER" in words:
        return "LOCALIZER"
    return "" if _NO_SLICES.isdisjoint(words) else "DERIVED_IMAGE"


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.strip(_PADDING)
    return "" if value is None else str(value).strip(_PADDING)


def _number(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None
