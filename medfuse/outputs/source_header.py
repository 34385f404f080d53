"""Source headers in two halves: what highdicom has to know of an image, and what belongs to the patient and the study.

highdicom puts a patient's name that it finds odd into a warning and refuses a study over a sex or a date that is not as
the standard has it. So it is given the geometry and the references alone, and the patient and study attributes
are copied into the finished object as they are written, byte by byte and with their character set.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
_PATIENT_GROUPS = (0x0010, 0x0012)


def templates_of(
    sources: Sequence["Dataset"], *, measures: Any, uids: Mapping[str, str | None]
) -> tuple["Dataset", ...]:
    """Headers that highdicom can refer to, each instance once, without patient attributes.

    An instance without SOP Class or Instance UID takes those of its file meta information (PS3.10 section 7.1).

    Args:
        sources: The source headers.
        measures: highdicom's `PixelMeasuresSequence` of the grid.
        uids: `StudyInstanceUID` and `SeriesInstanceUID` for headers that lack them.

    Raises:
        SourceGridError: A header lacks something that a reference or the frame of reference needs.
    """
    orientation = source_planes(sources[0])[0].orientation.tolist()
    templates: dict[str, Dataset] = {}
    for source in sources:
        template = _template(source, uids)
        _add_geometry(template, source, orientation, measures)
        templates[str(template.SOPInstanceUID)] = template
    return tuple(templates.values())


def carry_identity(source: "Dataset", dataset: "Dataset", *, keep_encoding: bool) -> None:
    """Copy the patient, clinical trial and study attributes.

    Args:
        source: Where they come from.
        dataset: Where they go, in Explicit VR Little Endian.
        keep_encoding: Whether to keep the source's bytes and character set; otherwise the text is decoded, to be
            written in the character set that `dataset` has.
    """
    from pydicom.tag import Tag

    study_tags = {Tag(keyword) for keyword in _STUDY_KEYWORDS}
    for tag in source.keys():  # noqa: SIM118  (iterating a Dataset gives elements and would decode them)
        if tag.group in _PATIENT_GROUPS or tag in study_tags:
            element = source.get_item(tag)
            is_plain = getattr(element, "VR", None) is not None and getattr(element, "is_little_endian", True)
            dataset[tag] = element if keep_encoding and element is not None and is_plain else source[tag]
    if keep_encoding:
        dataset.SpecificCharacterSet = source.get("SpecificCharacterSet") or "ISO_IR 100"


def _template(source: "Dataset", uids: Mapping[str, str | None]) -> "Dataset":
    from pydicom import Dataset

    if not source.get("FrameOfReferenceUID"):
        raise SourceGridError("the source series has no Frame of Reference UID, which a DICOM SEG has to share")
    template = Dataset()
    for keyword in _IMAGE_KEYWORDS:
        if keyword in source:
            setattr(template, keyword, source[keyword].value)
    for keyword in _REQUIRED_EMPTY:
        setattr(template, keyword, None)
    for keyword, made in uids.items():
        setattr(template, keyword, _uid(source, keyword, made))
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        setattr(template, keyword, _uid(source, keyword, _file_meta_uid(source, keyword)))
    return template


def _uid(source: "Dataset", keyword: str, otherwise: str | None) -> str:
    from pydicom.uid import UID

    uid = UID(str(source.get(keyword) or otherwise or ""))
    if not uid.is_valid:
        raise SourceGridError(f"a source image has no valid {keyword}, which a DICOM SEG has to refer to")
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
