"""From stored to physical values: which scale holds for a frame, and whether CT numbers can be Hounsfield units.

Sources: PS3.3 section C.11.1 (Modality LUT), C.7.6.16.2.9 (Pixel Value Transformation), C.7.6.16.2.11 (Real World
Value Mapping); Philips' private scale as in Chenevert et al., Transl Oncol 2014;7:65-71 and dcm2niix's notes.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import Frame, number, private, text
from medfuse.ingest.dicom.header import Header

_PHILIPS_MR = (0x2005, "Philips MR Imaging DD 001")
_PHILIPS_FRAME = (0x2005, "Philips MR Imaging DD 005", 0x0F)
_SCALE_INTERCEPT, _SCALE_SLOPE = 0x0D, 0x0E
_HU_TYPES = frozenset({"", "HU", "HU_MOD", "US"})
_TOO_LOW_HU = -1300.0
_NO_TISSUE_HU = -300.0
_LEAST_SHARE = 0.05
_MOST_TISSUE, _ALL_TISSUE = 0.9, 0.99
_STRIDE = 7

Scale = tuple[float, float]


def frame_scales(frames: Sequence[Frame], headers: Mapping[Path, Header]) -> tuple[list[Scale], tuple[str, ...]]:
    """Slope and intercept of each frame, and what is to say about them.

    A private scale of Philips that is the same for all frames only changes the unit, and is recorded; where it differs
    from frame to frame the displayed values cannot be compared, so it is applied: (value) / (slope x scale slope).
    """
    scales = [(frame.slope, frame.intercept) for frame in frames]
    notes = []
    philips = _philips_scales(frames, headers)
    if philips and len(set(philips)) > 1:
        pairs = zip(scales, philips, strict=True)
        scales = [(1 / own, intercept / (slope * own)) for (slope, intercept), (own, _) in pairs]
        notes.append("Philips' private scale slope (2005,100E) differs between slices and was applied.")
    elif philips:
        own, offset = philips[0]
        said = f"slope (2005,100E) is {own:g}, intercept (2005,100D) {offset:g}"
        notes.append(f"Philips' private scale {said}; not applied.")
    if len(set(scales)) > 1:
        notes.append("Rescale differs between slices and was applied slice by slice.")
    mapping = _real_world(headers[frames[0].path])
    if mapping:
        notes.append(mapping)
    return scales, tuple(notes)


def modality_lut(header: Header, *, little_endian: bool) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """The table that takes stored values to physical ones, where a header has one instead of a slope."""
    items = header.get("ModalityLUTSequence")
    if not items:
        return None
    from pydicom.dataset import Dataset
    from pydicom.pixels.processing import apply_modality_lut

    dataset = Dataset()
    dataset.ModalityLUTSequence = list(items)
    dataset.set_original_encoding(False, little_endian)
    # Wider than stored, since the table may have more entries than stored values reach.
    return lambda stored: np.asarray(apply_modality_lut(stored.astype(np.int32), dataset))


def is_hounsfield(header: Header) -> bool:
    """Whether the values of a CT image are Hounsfield units by its Rescale Type, which may be left out."""
    return text(header.get("RescaleType")).upper() in _HU_TYPES


def check_hounsfield(planes: NDArray[np.float32]) -> None:
    """Refuse CT values that cannot be Hounsfield units because a rescale was applied twice.

    Then air lies near -2000 and tissue near -1000. Low values alone tell nothing: outside of the scanned circle many
    scanners write -2000 or -3024. So tissue has to be missing as well, all the more where the low values are all equal.

    Args:
        planes: Shape `(n, rows, columns)`, HU.

    Raises:
        UnreadableSeriesError: `HU_IMPLAUSIBLE`.
    """
    step = max(1, len(planes) // 16)
    stride = _STRIDE if min(planes.shape[1:]) >= 10 * _STRIDE else 1
    sample = planes[::step, ::stride, ::stride].ravel()
    low = sample < _TOO_LOW_HU
    if not low.any():
        return
    rest = sample[sample > float(sample.min()) + 0.5]
    varied = rest.size and float((rest < _TOO_LOW_HU).sum()) / sample.size > _LEAST_SHARE
    highest = float(np.quantile(rest, _MOST_TISSUE if varied else _ALL_TISSUE)) if rest.size else 0.0
    if low.mean() > _LEAST_SHARE and highest < _NO_TISSUE_HU:
        raise UnreadableSeriesError(
            f"has CT values that cannot be Hounsfield units: {float(low.mean()):.0%} lie below {_TOO_LOW_HU:g}, "
            "expected air near -1000 and water near 0; the rescale was applied before the files were written; convert "
            "them anew",
            reason="HU_IMPLAUSIBLE",
        )


def _philips_scales(frames: Sequence[Frame], headers: Mapping[Path, Header]) -> list[Scale] | None:
    """Private scale slope and intercept of each frame of a Philips MR series; None where one has none."""
    if not frames[0].facts.acquisition.manufacturer.upper().startswith("PHILIPS") or frames[0].facts.modality != "MR":
        return None
    groups: dict[Path, list[Any]] = {}
    found = []
    for frame in frames:
        header = headers[frame.path]
        if frame.path not in groups:
            groups[frame.path] = list(header.get("PerFrameFunctionalGroupsSequence") or [])
        own = groups[frame.path]
        scale = _philips_scale(_philips_group(own[frame.index]) if own else header)
        if scale is None:
            return None
        found.append(scale)
    return found


def _philips_group(group: Any) -> Any:
    """The private item of a frame of an enhanced object of Philips that holds what a classic header holds."""
    items = private(group, *_PHILIPS_FRAME)
    return items[0] if items else group


def _philips_scale(header: Any) -> Scale | None:
    slope = number(_one(private(header, *_PHILIPS_MR, _SCALE_SLOPE)))
    intercept = number(_one(private(header, *_PHILIPS_MR, _SCALE_INTERCEPT)))
    return None if slope is None or slope == 0 else (slope, intercept or 0.0)


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple)) and value else value


def _real_world(header: Header) -> str:
    shared = header.get("SharedFunctionalGroupsSequence")
    items = header.get("RealWorldValueMappingSequence") or (shared and shared[0].get("RealWorldValueMappingSequence"))
    if not items:
        return ""
    slope, intercept = (number(items[0].get(f"RealWorldValue{end}")) for end in ("Slope", "Intercept"))
    if slope is None:
        return "A real world value map (0040,9096) by a table is given and was not applied."
    said = f"slope {slope:g}, intercept {intercept or 0:g}"
    return f"A real world value map (0040,9096) is given and was not applied: {said}."
