"""Source headers in two halves: what highdicom has to know of an image, and what belongs to the patient and the study.

highdicom puts a patient's name that it finds odd into a warning and refuses a study over a sex or a date that is not as
the standard has it. So it is given the geometry and the references alone, and the patient and study attributes are
copied into the finished object as they are written, byte by byte and with their character set. What is no valid value
(a birth date `2.3.1951`, an age `0Y`) is left empty or out, so that the result itself is valid.
"""

from collections.abc import Mapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any

from medfuse.ingest.uids import made_uid
from medfuse.outputs.source_grid import SourceGridError, SourcePlane, source_planes

if TYPE_CHECKING:
    from pydicom import Dataset

_IMAGE_KEYWORDS = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Modality",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "DeviceSerialNumber",
)
_REQUIRED_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
_STUDY_KEYWORDS = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "StudyDescription",
    "ProcedureCodeSequence",
    "PhysiciansOfRecord",
    "StudyID",
)
_CHECKED_VRS = frozenset({"AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
_TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_SEXES = ("", "M", "F", "O")
_PATIENT_GROUPS = (0x0010, 0x0012)


def templates_of(
    sources: Sequence["Dataset"], *, orientation: Sequence[float], measures: Any, uids: Mapping[str, str | None]
) -> tuple["Dataset", ...]:
    """Headers that highdicom can refer to, each instance once, without patient attributes.

    An instance without SOP Class or Instance UID takes those of its file meta information (PS3.10 section 7.1). A
    series without a Frame of Reference UID, as many a de-identified one, gets one made from its Series Instance UID:
    its images share a frame (PS3.3 section A.1.2.5), it only has no name.

    Args:
        sources: The source headers.
        orientation: Image Orientation (Patient) of the grid, for all planes.
        measures: highdicom's `PixelMeasuresSequence` of the grid.
        uids: `StudyInstanceUID` and `SeriesInstanceUID` for headers that lack them.

    Raises:
        SourceGridError: A header lacks a UID that a reference needs.
    """
    templates: dict[str, Dataset] = {}
    for source in sources:
        template = _template(source, uids)
        _add_geometry(template, source, orientation, measures)
        templates[str(template.SOPInstanceUID)] = template
    return tuple(templates.values())


def references_of(sources: Sequence["Dataset"], uids: Mapping[str, str | None]) -> tuple["Dataset", ...]:
    """The same without a geometry, for objects that refer to images and lie on none.

    Raises:
        SourceGridError: A header lacks a UID that a reference needs.
    """
    templates = [_template(source, uids) for source in sources]
    return tuple({str(template.SOPInstanceUID): template for template in templates}.values())


def study_uid_of(source: "Dataset", otherwise: str | None) -> str:
    """The Study Instance UID of a source, or `otherwise` where the header lacks it.

    Raises:
        SourceGridError: Neither is a UID.
    """
    return _uid(source, "StudyInstanceUID", otherwise)


def is_ascii(dataset: "Dataset") -> bool:
    """Whether every text of a dataset can stand in any character set."""
    for element in dataset.iterall():
        if element.VR in _TEXT_VRS and element.value:
            values = element.value if isinstance(element.value, MutableSequence) else [element.value]
            if not all(str(value).isascii() for value in values):
                return False
    return True


def carry_identity(source: "Dataset", dataset: "Dataset", *, keep_encoding: bool) -> None:
    """Copy the patient, clinical trial and study attributes that have a valid value.

    Args:
        source: Where they come from.
        dataset: Where they go, in Explicit VR Little Endian.
        keep_encoding: Whether to keep the source's bytes and character set; otherwise the text is decoded, to be
            written in the character set that `dataset` has.
    """
    from pydicom.tag import Tag

    study_tags = {Tag(keyword) for keyword in _STUDY_KEYWORDS}
    required = {Tag(keyword) for keyword in _REQUIRED_EMPTY}
    for tag in source.keys():  # noqa: SIM118  (iterating a Dataset gives elements and would decode them)
        if tag.group in _PATIENT_GROUPS or tag in study_tags:
            element = _undecoded(source, tag) if keep_encoding else source[tag]
            if not _is_valid(element):
                if tag not in required:
                    dataset.pop(tag, None)
                continue
            dataset[tag] = element
    if keep_encoding:
        dataset.SpecificCharacterSet = source.get("SpecificCharacterSet") or "ISO_IR 100"


def _undecoded(source: "Dataset", tag: Any) -> Any:
    """The element as it stands in the file, where it can be written so in Explicit VR Little Endian."""
    element: Any = source.get_item(tag)
    return element if element.VR is not None and getattr(element, "is_little_endian", True) else source[tag]


def _is_valid(element: Any) -> bool:
    """Whether a text value is one of its VR (PS3.5 section 6.2); undecoded elements are read as ASCII."""
    from pydicom.config import RAISE
    from pydicom.tag import Tag
    from pydicom.valuerep import validate_value

    if element.VR not in _CHECKED_VRS or element.value is None:
        return True
    value = element.value.decode("ascii", "replace").split("\\") if isinstance(element.value, bytes) else element.value
    parts = [str(part).strip(" \0") for part in (value if isinstance(value, MutableSequence) else [value])]
    if element.tag == Tag("PatientSex") and parts[0] not in _SEXES:
        return False
    try:
        for part in parts:
            validate_value(element.VR, part, RAISE)
    except ValueError:
        return False
    return True


def _template(source: "Dataset", uids: Mapping[str, str | None]) -> "Dataset":
    from pydicom import Dataset

    template = Dataset()
    for keyword in _IMAGE_KEYWORDS:
        if keyword in source:
            setattr(template, keyword, source[keyword].value)
    for keyword in _REQUIRED_EMPTY:
        setattr(template, keyword, None)
    for keyword, made in uids.items():
        setattr(template, keyword, _uid(source, keyword, made))
    if not template.get("FrameOfReferenceUID"):
        template.FrameOfReferenceUID = made_uid("frame of reference", str(template.SeriesInstanceUID))
    template.SOPClassUID, template.SOPInstanceUID = instance_uids(source)
    return template


def instance_uids(source: "Dataset") -> tuple[str, str]:
    """SOP Class and SOP Instance UID of a source, from its file meta information where the header lacks them.

    Raises:
        SourceGridError: One is missing or no UID.
    """
    sop_class, instance = (_uid(source, key, _file_meta_uid(source, key)) for key in ("SOPClassUID", "SOPInstanceUID"))
    return sop_class, instance


def _uid(source: "Dataset", keyword: str, otherwise: str | None) -> str:
    from pydicom.uid import UID

    uid = UID(str(source.get(keyword) or otherwise or ""))
    if not uid.is_valid:
        raise SourceGridError(f"a source image has no valid {keyword}, which a DICOM result has to refer to")
    return uid


def _file_meta_uid(source: "Dataset", keyword: str) -> str | None:
    value = getattr(source, "file_meta", {}).get(f"MediaStorage{keyword}")
    return str(value) if value else None


def _add_geometry(template: "Dataset", source: "Dataset", orientation: Sequence[float], measures: Any) -> None:
    """Give the template the source's positions, with one orientation and one spacing for all planes."""
    from pydicom import Dataset

    planes = source_planes(source)
    if "PerFrameFunctionalGroupsSequence" not in source:
        template.ImagePositionPatient = _decimals(planes[0].position_mm.tolist())
        template.ImageOrientationPatient = _decimals(orientation)
        template.PixelSpacing = measures[0].PixelSpacing
        template.SliceThickness = measures[0].SliceThickness
        template.SpacingBetweenSlices = measures[0].SpacingBetweenSlices
        return
    plane_orientation, shared = Dataset(), Dataset()
    plane_orientation.ImageOrientationPatient = _decimals(orientation)
    shared.PlaneOrientationSequence = [plane_orientation]
    shared.PixelMeasuresSequence = measures
    template.SharedFunctionalGroupsSequence = [shared]
    template.PerFrameFunctionalGroupsSequence = [_frame_position(plane) for plane in planes]


def _frame_position(plane: SourcePlane) -> "Dataset":
    from pydicom import Dataset

    position, frame = Dataset(), Dataset()
    position.ImagePositionPatient = _decimals(plane.position_mm.tolist())
    frame.PlanePositionSequence = [position]
    return frame


def _decimals(numbers: Sequence[float]) -> list[str]:
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(number)) for number in numbers]
