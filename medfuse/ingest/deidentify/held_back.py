"""Which objects cannot be made safe by cleaning their headers, and why.

Text in pixels, photographs, documents, sound and raw data keep what they show. Kinds of objects are allowed by name:
one that nobody has looked at is held back.
"""

from collections.abc import Iterable
from typing import Any

_STORAGE = "1.2.840.10008.5.1.4.1.1."

CLEAN_KINDS = tuple(
    _STORAGE + part
    for part in (
        *("2", "4", "20", "128", "130"),  # CT, MR, NM, PET; with what stands below them
        *("66.1", "66.2", "66.3", "66.4", "66.5", "66.7"),  # registrations, fiducials, segmentations
        *("11", "30", "67", "68"),  # presentation states, parametric maps, real world values, surfaces
        *("88", "481.1", "481.2", "481.3", "481.5", "481.8"),  # structured reports, radiotherapy
    )
)
"""SOP classes, with those below them, whose headers tell everything (PS3.4 table B.5-1)."""

PIXEL_KINDS = tuple(_STORAGE + part for part in ("1", "12", "13", "481.1"))
"""Projection images, whose pixels often show text: they need a No in Burned In Annotation."""

_REASONS = (
    (_STORAGE + "7", "SECONDARY_CAPTURE"),
    (_STORAGE + "3", "ULTRASOUND"),
    (_STORAGE + "6", "ULTRASOUND"),
    (_STORAGE + "77", "PHOTOGRAPH"),
    (_STORAGE + "104", "ENCAPSULATED_DOCUMENT"),
    (_STORAGE + "9", "WAVEFORM"),
    (_STORAGE + "66", "RAW_DATA"),
    (_STORAGE + "4.2", "RAW_DATA"),
)
_CAPTURED = ("SCREEN", "CAPTURE", "DOSE_INFO", "DOSE INFO", "PATIENTPROTOCOL", "PATIENT PROTOCOL")

BURNED_IN = frozenset(
    {
        "BURNED_IN_ANNOTATION",
        "BURNED_IN_UNKNOWN",
        "SCREENSHOT",
        "SECONDARY_CAPTURE",
        "ULTRASOUND",
        "PHOTOGRAPH",
        "COLOUR_IMAGE",
        "RECOGNISABLE_FEATURES",
    }
)
"""Reasons that `keep_burned_in` lifts; documents, sound, raw data and unknown kinds stay held back."""


def reason_to_hold(header: Any) -> str | None:
    """Why an object is held back; None for one whose header tells everything.

    Args:
        header: A header with `.get(keyword)`.
    """
    sop_class = str(header.get("SOPClassUID") or "")
    if str(header.get("RecognizableVisualFeatures") or "").upper() == "YES":
        return "RECOGNISABLE_FEATURES"
    burned_in = str(header.get("BurnedInAnnotation") or "").upper()
    if burned_in == "YES":
        return "BURNED_IN_ANNOTATION"
    for kind, reason in _REASONS:
        if _is_kind(sop_class, [kind]) and not _is_kind(sop_class, CLEAN_KINDS):
            return reason
    if sop_class == _STORAGE + "4.2":
        return "RAW_DATA"
    if _is_kind(sop_class, PIXEL_KINDS):
        return None if burned_in == "NO" else "BURNED_IN_UNKNOWN"
    if not _is_kind(sop_class, CLEAN_KINDS):
        return "UNKNOWN_KIND"
    return _pixel_reason(header, burned_in)


def _pixel_reason(header: Any, burned_in: str) -> str | None:
    """Captures of screens that say they are CT or MR, and images in colour."""
    words = [str(value).upper() for value in _values(header.get("ImageType"))]
    if any(sign in word for word in words for sign in _CAPTURED) or header.get("ConversionType"):
        return "SCREENSHOT"
    colours = int(header.get("SamplesPerPixel") or 1)
    return "COLOUR_IMAGE" if colours > 1 and burned_in != "NO" else None


def _is_kind(sop_class: str, kinds: Iterable[str]) -> bool:
    return any(f"{sop_class}.".startswith(f"{kind}.") for kind in kinds)


def _values(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
