"""What a header says of each slice: where it is, how its numbers are scaled, and what tells it from its neighbours.

A `Frame` is plain data, cheap to make and to keep; `split` decides which frames belong to one volume. Nothing is
guessed here: a header without position, orientation or spacing is refused with the tags that it lacks.

Sources: PS3.3 section C.7.6.2 (Image Plane), C.7.6.16.2 (functional groups of enhanced objects), C.8.13.5 (enhanced
MR macros). Private elements: Siemens (0019,100C), GE (0043,1039) and Philips (2001,1003) b-values, as dcm2niix reads
them.
"""

import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from medfuse.domain import Acquisition
from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.header import Header, private_value

Vector = tuple[float, float, float]
"""A point or direction, LPS."""

_KINDS = {
    "M": "magnitude",
    "MAGNITUDE": "magnitude",
    "P": "phase",
    "PHASE": "phase",
    "PHASE MAP": "phase",
    "R": "real",
    "REAL": "real",
    "I": "imaginary",
    "IMAGINARY": "imaginary",
}
_MIXED = frozenset({"", "MIXED"})
_GE_B_VALUE_OFFSET = 1_000_000_000
_SIEMENS_MR = (0x0019, "SIEMENS MR HEADER")
_GE_ACQUISITION = (0x0019, "GEMS_ACQU_01")
_GE_PARAMETERS = (0x0043, "GEMS_PARM_01")
_PHILIPS_IMAGE = (0x2001, "Philips Imaging DD 001")
_PHILIPS_MR = (0x2005, "Philips MR Imaging DD 001")
_B_VALUES = (("SIEMENS", (*_SIEMENS_MR, 0x0C)), ("GE", (*_GE_PARAMETERS, 0x39)), ("PHILIPS", (*_PHILIPS_IMAGE, 0x03)))
_GE_KINDS = ("M", "P", "R", "I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What tells the volumes of one series apart and is the same for many frames.

    Args:
        modality: Modality (0008,0060).
        kind: `magnitude`, `phase`, `real` or `imaginary`; empty where the header does not say.
        echo_number: Echo Number(s) (0018,0086).
        flip_angle: Flip Angle (0018,1314), degrees.
        kvp: KVP (0018,0060) of a CT.
        spacing_between_mm: Spacing Between Slices (0018,0088), which only a single slice has to rely on.
        acquisition: What a rule may choose a series by.
    """

    modality: str = ""
    kind: str = ""
    echo_number: int | None = None
    flip_angle: float | None = None
    kvp: float | None = None
    spacing_between_mm: float | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One slice: where it is, where its pixels are, and when and how it was taken.

    Args:
        path: Its file.
        index: Its number within the file, from 0.
        tile: First row and column of its tile in the stored matrix of a Siemens mosaic; None elsewhere.
        position_mm: Image Position (Patient), the centre of the first pixel, LPS.
        orientation: Image Orientation (Patient): row cosines, then column cosines, LPS.
        spacing_mm: Pixel Spacing as DICOM has it: between rows, then between columns.
        shape: Rows, columns.
        slope: Rescale Slope.
        intercept: Rescale Intercept.
        sop_instance_uid: SOP Instance UID of its file.
        instance_number: Instance Number.
        acquisition_number: Acquisition Number, or Frame Acquisition Number of an enhanced object.
        temporal_position: Temporal Position Identifier or Index.
        trigger_time_ms: Trigger Time, or Nominal Cardiac Trigger Delay Time.
        reference_ms: Frame Reference Time (0054,1300) of a PET.
        acquired_s: Time of day of the acquisition in seconds.
        content_s: Time of day of the content in seconds.
        gradient: Direction of the diffusion gradient, or nothing.
        stack_id: Stack ID of an enhanced object; empty elsewhere.
        dimension_index: Dimension Index Values of an enhanced object, not to be relied on.
        facts: What many frames share.
    """

    path: Path
    index: int = 0
    tile: tuple[int, int] | None = None
    position_mm: Vector
    orientation: tuple[float, float, float, float, float, float]
    spacing_mm: tuple[float, float]
    shape: tuple[int, int]
    slope: float = 1.0
    intercept: float = 0.0
    sop_instance_uid: str = ""
    instance_number: int | None = None
    acquisition_number: int | None = None
    temporal_position: int | None = None
    trigger_time_ms: float | None = None
    reference_ms: float | None = None
    acquired_s: float | None = None
    content_s: float | None = None
    gradient: tuple[float, ...] = ()
    stack_id: str = ""
    dimension_index: tuple[int, ...] = ()
    facts: Facts = Facts()


def frames_of(path: Path, header: Header, n_frames: int | None = None) -> list[Frame]:
    """Read the frames of one file: one of a classic image, one a tile of a Siemens mosaic, many of an enhanced one.

    Args:
        path: The file.
        header: Its header.
        n_frames: Number of frames that its pixels hold; Number of Frames when left out.

    Raises:
        UnreadableSeriesError: `MISSING_GEOMETRY`, `INCONSISTENT_GEOMETRY`, `INVALID_RESCALE`, `MOSAIC_UNREADABLE` or
            `COLOUR_IMAGE`; the detail names the file and not the series.
    """
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise UnreadableSeriesError("holds colour images, expected grey values", reason="COLOUR_IMAGE")
    count = max(1, int(n_frames or header.get("NumberOfFrames") or 1))
    if count > 1 or header.get("PerFrameFunctionalGroupsSequence") or header.get("SharedFunctionalGroupsSequence"):
        from medfuse.ingest.dicom.enhanced import enhanced_frames

        return enhanced_frames(path, header, count)
    facts = facts_of(header)
    if "MOSAIC" in facts.acquisition.image_type:
        from medfuse.ingest.dicom.mosaic import mosaic_frames

        return mosaic_frames(path, header, classic_frame(path, header, facts))
    return [classic_frame(path, header, facts)]


def classic_frame(path: Path, header: Header, facts: Facts) -> Frame:
    """The one frame of a classic image.

    Raises:
        UnreadableSeriesError: `MISSING_GEOMETRY`, `INCONSISTENT_GEOMETRY` or `INVALID_RESCALE`.
    """
    get = header.get
    position, orientation, spacing = plane_of(path, header, header, header)
    slope, intercept = rescale_of(path, header)
    return Frame(
        path=path,
        position_mm=position,
        orientation=orientation,
        spacing_mm=spacing,
        shape=shape_of(path, header),
        slope=slope,
        intercept=intercept,
        sop_instance_uid=text(get("SOPInstanceUID")),
        instance_number=whole(get("InstanceNumber")),
        acquisition_number=whole(get("AcquisitionNumber")),
        temporal_position=whole(get("TemporalPositionIdentifier")),
        trigger_time_ms=number(get("TriggerTime")),
        reference_ms=number(get("FrameReferenceTime")) if facts.modality == "PT" else None,
        acquired_s=seconds(get("AcquisitionTime")),
        content_s=seconds(get("ContentTime")),
        gradient=_gradient(header, facts) if facts.acquisition.b_value is not None else (),
        facts=facts,
    )


def plane_of(path: Path, position: Header, orientation: Header, measures: Header) -> tuple[Any, Any, Any]:
    """Position, orientation and spacing of a plane, each from where its functional group stands.

    Raises:
        UnreadableSeriesError: `MISSING_GEOMETRY`, naming every tag that is missing.
    """
    values = (
        _floats(position.get("ImagePositionPatient"), 3),
        _floats(orientation.get("ImageOrientationPatient"), 6),
        _floats(measures.get("PixelSpacing"), 2),
    )
    if None in values:
        tags = (
            "ImagePositionPatient (0020,0032)",
            "ImageOrientationPatient (0020,0037)",
            "PixelSpacing (0028,0030)",
        )
        missing = ", ".join(tag for tag, value in zip(tags, values, strict=True) if value is None)
        raise UnreadableSeriesError(
            f"file {path.name} lacks {missing}: it has no place in the patient; export it anew with these elements",
            reason="MISSING_GEOMETRY",
        )
    return values


def shape_of(path: Path, header: Header) -> tuple[int, int]:
    """Rows and columns of the stored matrix.

    Raises:
        UnreadableSeriesError: `INCONSISTENT_GEOMETRY`.
    """
    rows, columns = whole(header.get("Rows")), whole(header.get("Columns"))
    if not rows or not columns or rows < 1 or columns < 1:
        raise UnreadableSeriesError(f"file {path.name} has an empty matrix", reason="INCONSISTENT_GEOMETRY")
    return rows, columns


def rescale_of(path: Path, header: Header) -> tuple[float, float]:
    """Rescale Slope and Intercept (PS3.3 section C.11.1), 1 and 0 where they are not given.

    Raises:
        UnreadableSeriesError: `INVALID_RESCALE`.
    """
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    try:
        slope = 1.0 if slope is None or slope == "" else float(slope)
        intercept = 0.0 if intercept is None or intercept == "" else float(intercept)
    except (TypeError, ValueError):
        slope = math.nan
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise UnreadableSeriesError(
            f"file {path.name} has a rescale slope or intercept without meaning (slope {slope}); "
            "expected finite numbers and a slope other than 0",
            reason="INVALID_RESCALE",
        )
    return slope, intercept


def facts_of(header: Header) -> Facts:
    """The facts of a classic header; equal headers share one record."""
    get = header.get
    modality = get("Modality")
    is_mr = modality == "MR"
    return _facts(
        modality,
        _key(get("ImageType")),
        get("SliceThickness"),
        get("SpacingBetweenSlices"),
        get("FrameOfReferenceUID"),
        get("ProtocolName"),
        get("BodyPartExamined"),
        get("ContrastBolusAgent"),
        get("Manufacturer"),
        None if is_mr else _key(get("ConvolutionKernel")),
        None if is_mr else get("KVP"),
        *(_mr_values(header) if is_mr else ()),
    )


def with_frame(
    facts: Facts, *, kind: str, flip_angle: float | None, spacing_between_mm: float | None, **acquisition: Any
) -> Facts:
    """The facts of one frame of an enhanced object: those of the file, and what its functional groups say."""
    return replace(
        facts,
        kind=kind,
        flip_angle=flip_angle,
        spacing_between_mm=spacing_between_mm,
        acquisition=replace(facts.acquisition, **acquisition),
    )


def kind_of(image_type: Iterable[str]) -> str:
    """`magnitude`, `phase`, `real` or `imaginary` by an Image Type, a Frame Type or a Complex Image Component."""
    return next((_KINDS[word] for word in image_type if word in _KINDS), "")


def number(value: Any) -> float | None:
    """A finite float, or None."""
    if value is None or value == "":
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """An int, or None."""
    if value is None or value == "":
        return None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def text(value: Any) -> str:
    """Text without padding; several values joined by a backslash, as they stand in the file."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip(" \0")
    if isinstance(value, Iterable):
        return "\\".join(str(part).strip(" \0") for part in value)
    return str(value).strip(" \0")


def words(value: Any) -> tuple[str, ...]:
    """The values of an element of words, upper case."""
    parts = text(value).upper().split("\\")
    return tuple(part.strip() for part in parts) if parts != [""] else ()


def seconds(value: Any) -> float | None:
    """Seconds since midnight of a DICOM time, or of the time of a date and time (PS3.5 section 6.2: TM, DT)."""
    if not value:
        return None
    if isinstance(value, str) and value[:6].isdecimal() and value.isascii() and len(value) >= 6:
        rest = value[6:]
        if not rest or (rest[0] == "." and rest[1:].isdecimal()):  # HHMMSS.FFFFFF, as nearly all scanners write it
            clock_s = int(value[:2]) * 3600.0 + int(value[2:4]) * 60 + int(value[4:6])
            return clock_s + float(rest[:7]) if rest else clock_s
    digits = re.sub(r"[+-]\d{4}$", "", str(value).strip()).replace(":", "")
    if len(digits) > 10 and digits[:14].isdigit():
        digits = digits[8:]
    clock, _, fraction = digits.partition(".")
    if len(clock) not in (2, 4, 6) or not clock.isdigit():
        return None
    parts = [int(clock[n : n + 2]) for n in range(0, len(clock), 2)] + [0, 0]
    fraction = "".join(c for c in fraction[:6] if c.isdigit())
    return parts[0] * 3600.0 + parts[1] * 60 + parts[2] + (float(f"0.{fraction}") if fraction else 0.0)


def private(header: Header, group: int, creator: str, element: int) -> Any:
    """The value of a private element, or None; bytes of unknown meaning are read as text or else as floats.

    Where a de-identified file has kept the element and lost its creator, the first block is taken.
    """
    value = private_value(header, group, creator, element)
    if value is None:
        value = by_number(header, group << 16 | 0x1000 | element)
    return _read_bytes(value) if isinstance(value, bytes) else value


def by_number(header: Any, tag: int) -> Any:
    """The value of an element by its number; None for headers that only know keywords."""
    found = header.get(tag)
    return getattr(found, "value", found)


def _read_bytes(value: bytes) -> Any:
    parts = value.strip(b" \0").decode("latin-1").split("\\")
    if all(number(part) is not None for part in parts):
        return parts
    if len(value) % 8 == 0:
        return list(struct.unpack(f"<{len(value) // 8}d", value))
    return list(struct.unpack(f"<{len(value) // 4}f", value)) if len(value) % 4 == 0 else None


def _first(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int, float)) else next(iter(value), None)


def b_value_of(header: Header, manufacturer: str) -> float | None:
    """The diffusion b-value in s/mm2: the standard's, else the manufacturer's own element."""
    value = number(header.get("DiffusionBValue"))
    if value is not None:
        return value
    places = [place for _, place in _B_VALUES]
    maker = manufacturer.upper()
    values = (private_value(header, *place) for place in places)
    lost = (private(header, *place) for name, place in _B_VALUES if maker.startswith(name))
    value = next((found for found in map(_b_number, chain(values, lost)) if found is not None), None)
    return value if value is None else value % _GE_B_VALUE_OFFSET


def _b_number(value: Any) -> float | None:
    return number(_first(_read_bytes(value) if isinstance(value, bytes) else value))


def _mr_values(header: Header) -> tuple[Any, ...]:
    get = header.get
    maker = text(get("Manufacturer"))
    component = _key(get("ComplexImageComponent"))
    if component is None and maker.upper().startswith("GE"):
        code = whole(_first(private(header, *_GE_PARAMETERS, 0x2F)))
        component = _GE_KINDS[code] if code is not None and 0 <= code < len(_GE_KINDS) else None
    return (
        _key(get("ScanningSequence")),
        get("SequenceName"),
        get("EchoTime"),
        get("RepetitionTime"),
        get("InversionTime"),
        b_value_of(header, maker),
        component,
        _key(get("EchoNumbers")),
        get("FlipAngle"),
    )


@lru_cache(maxsize=4096)
def _facts(
    modality: Any,
    image_type: Any,
    thickness: Any,
    spacing_between: Any,
    frame_of_reference: Any,
    protocol: Any,
    body_part: Any,
    contrast: Any,
    manufacturer: Any,
    kernel: Any,
    kvp: Any,
    scanning_sequence: Any = None,
    sequence_name: Any = None,
    echo_time: Any = None,
    repetition_time: Any = None,
    inversion_time: Any = None,
    b_value: float | None = None,
    component: Any = None,
    echo_number: Any = None,
    flip_angle: Any = None,
) -> Facts:
    types = words(image_type)
    return Facts(
        modality=text(modality),
        kind=(kind_of(words(component)) or kind_of(types[2:])) if text(modality) == "MR" else "",
        echo_number=whole(words(echo_number)[0]) if words(echo_number) else None,
        flip_angle=number(flip_angle),
        kvp=number(kvp),
        spacing_between_mm=number(spacing_between),
        acquisition=Acquisition(
            thickness_mm=number(thickness),
            frame_of_reference_uid=text(frame_of_reference),
            image_type=types,
            protocol=text(protocol),
            body_part=text(body_part),
            kernel=text(kernel),
            contrast=text(contrast),
            sequence=" ".join(part for part in (text(scanning_sequence), text(sequence_name)) if part),
            echo_time_ms=number(echo_time),
            repetition_time_ms=number(repetition_time),
            inversion_time_ms=number(inversion_time),
            b_value=b_value,
            manufacturer=text(manufacturer),
        ),
    )


def _gradient(header: Header, facts: Facts) -> tuple[float, ...]:
    """Direction of the diffusion gradient as the header has it; for telling directions apart, not for tensors."""
    values = header.get("DiffusionGradientOrientation")
    maker = facts.acquisition.manufacturer.upper()
    if values is None and maker.startswith("SIEMENS"):
        values = private(header, *_SIEMENS_MR, 0x0E)
    elif values is None and maker.startswith("GE"):
        values = [_first(private(header, *_GE_ACQUISITION, element)) for element in (0xBB, 0xBC, 0xBD)]
    elif values is None and maker.startswith("PHILIPS"):
        values = [_first(private(header, *_PHILIPS_MR, element)) for element in (0xB0, 0xB1, 0xB2)]
    found = _floats(values, 3)
    return tuple(round(value, 4) + 0.0 for value in found) if found else ()


def _floats(values: Any, count: int) -> tuple[float, ...] | None:
    """`count` floats, or None where the value is missing or is no list of so many numbers."""
    if values is None or isinstance(values, (str, bytes)):
        return None
    try:
        found = tuple([float(value) for value in values])
    except (TypeError, ValueError):
        return None
    return found if len(found) == count else None


def _key(value: Any) -> Any:
    """A hashable form of a value that may be a list."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    return tuple(value)
