"""DICOM segmentation objects -> a label map on the object's own grid (PS3.3 section C.8.20).

highdicom reads what keeps the standard's rules. What it refuses is read here frame by frame with pydicom: objects
without dimension indices, on sheared (gantry-tilted) slices, big endian, or in a transfer syntax that packs bits (RLE,
deflated frames). Both ways end in one label map, in which the segment with the highest number stands where several
overlap; up to eight of them are kept as bits beside it.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfuse.domain import Affine, Code, Segment, VolumeGeometry
from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.files import READ_ERRORS, PixelSpan, quiet, read_header
from medfuse.ingest.dicom.seg_frames import SegFrames, frames_of_seg

Labels = tuple[NDArray[np.uint8], VolumeGeometry, tuple[Segment, ...]]
Read = tuple[NDArray[np.uint8], NDArray[np.uint8] | None, Affine]

_MOST_VOXELS = 2**31
_FREE_VOXELS = 2**26
_MOST_EMPTY = 64
_BEST_COMPRESSION = 2000
_MOST_SEGMENTS = 255
_BITS = 8


def read_seg(path: Path) -> Labels:
    """Read a DICOM SEG of any type on its own grid.

    Fractions (probability or occupancy) count from one half of the Maximum Fractional Value. Segment numbers above 255
    are counted through from 1 in their order.

    Returns:
        Labels of shape `(I, J, K)`, their grid in LPS mm, and the segments.

    Raises:
        UnreadableFileError: `NO_PATIENT_GEOMETRY`, `TOO_LARGE`, `TOO_MANY_SEGMENTS` or `UNREADABLE_SEGMENTATION`.
    """
    labels, _, grid, segments = read_overlapping_seg(path)
    return labels, grid, segments


def read_overlapping_seg(
    path: Path,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, VolumeGeometry, tuple[Segment, ...]]:
    """As `read_seg`, with the bits of segments that overlap (`Segmentation.overlaps`) behind the labels.

    They are None where no two segments share a voxel, or a number is above 8.

    Raises:
        UnreadableFileError: As `read_seg`.
    """
    try:
        with quiet():
            header, span = read_header(path)
            segments = _segments(header, path)
            _check(header, path)
            _check_size(header, span, path)
            numbers = {number: segment.number for number, segment in segments.items()}
            labels, overlaps, affine = _read(path, numbers)
    except UnreadableFileError as error:
        if path.name in str(error):
            raise
        raise _unreadable(path, error.detail) from error
    except (*READ_ERRORS, MemoryError) as error:
        raise _unreadable(path, type(error).__name__) from error
    shape = cast(tuple[int, int, int], labels.shape)
    if overlaps is not None and not (overlaps & (overlaps - (overlaps > 0))).any():  # never two bits at once
        overlaps = None
    return labels, overlaps, VolumeGeometry(shape=shape, affine=affine), tuple(segments.values())


def _unreadable(path: Path, why: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"{path.name} is no DICOM segmentation on a regular grid ({why})", reason="UNREADABLE_SEGMENTATION"
    )


def _check(header: Dataset, path: Path) -> None:
    """Refuse before anything is allocated."""
    if "TotalPixelMatrixRows" in header or header.get("CoordinateSystemAxisLabels"):
        raise UnreadableFileError(f"{path.name} lies on a slide, not in a patient", reason="NO_PATIENT_GEOMETRY")
    if not _has_positions(header):
        raise UnreadableFileError(f"{path.name} has no position in the patient's frame", reason="NO_PATIENT_GEOMETRY")


def _check_size(header: Dataset, span: PixelSpan | None, path: Path) -> None:
    """Refuse frames that the file cannot hold, and a grid far larger than its frames."""
    plane = int(header.Rows) * int(header.Columns)
    voxels = plane * int(header.get("NumberOfFrames") or 1)
    needed = voxels * int(header.BitsAllocated) // 8
    if span is None:
        raise UnreadableFileError(f"{path.name} holds no pixel data", reason="NO_PIXEL_DATA")
    if span.is_cut or (span.length is not None and needed > span.length):
        raise UnreadableFileError(f"{path.name} holds fewer pixels than it announces", reason="TRUNCATED_FILE")
    allowed = min(_MOST_VOXELS, max(_FREE_VOXELS, _MOST_EMPTY * voxels))
    fits_file = span.length is not None or needed <= _FREE_VOXELS + _BEST_COMPRESSION * path.stat().st_size
    if not fits_file or _extent(header) * plane > allowed:
        raise UnreadableFileError(f"{path.name} announces a grid far larger than its frames", reason="TOO_LARGE")


def _has_positions(header: Dataset) -> bool:
    groups = [*(header.get("SharedFunctionalGroupsSequence") or []), header]
    groups += list(header.get("PerFrameFunctionalGroupsSequence") or [])[:1]
    return any("PlanePositionSequence" in group or "ImagePositionPatient" in group for group in groups)


def _extent(header: Dataset) -> float:
    """Number of slices between the outermost frames when the closest two are neighbours."""
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    places = [
        group.PlanePositionSequence[0].ImagePositionPatient for group in groups if "PlanePositionSequence" in group
    ]
    if not places:
        return 1.0
    ordered = [np.unique(np.round(axis, 3)) for axis in np.array(places, dtype=np.float64).T]
    longest = max(ordered, key=lambda axis: float(axis[-1] - axis[0]))
    return 1.0 + (float((longest[-1] - longest[0]) / np.diff(longest).min()) if len(longest) > 1 else 0.0)


def _read(path: Path, numbers: Mapping[int, int]) -> Read:
    """By highdicom, else frame by frame."""
    try:
        return _by_highdicom(path, numbers)
    except (*READ_ERRORS, sqlite3.Error, MemoryError):
        return _stack(frames_of_seg(path), numbers)


def _bits_for(numbers: Mapping[int, int], shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Where the bits of segments go; None where a byte does not hold them."""
    return np.zeros(shape, dtype=np.uint8) if 1 < max(numbers.values()) <= _BITS else None


def _by_highdicom(path: Path, numbers: Mapping[int, int]) -> Read:
    from highdicom.seg import segread

    file = segread(path)
    labels: NDArray[np.uint8] | None = None
    bits: NDArray[np.uint8] | None = None
    affine: NDArray[np.float64] | None = None
    for number in sorted(set(file.segment_numbers) & set(numbers)):
        volume = file.get_volume(segment_numbers=[number], combine_segments=False)
        mask = np.asarray(volume.array)[..., 0] >= 0.5
        if labels is None:
            labels, affine = np.zeros(mask.shape, dtype=np.uint8), np.asarray(volume.affine)
            bits = _bits_for(numbers, mask.shape)
        labels[mask] = numbers[number]
        if bits is not None:
            bits[mask] |= 1 << (numbers[number] - 1)
    if labels is None or affine is None:
        raise ValueError("no segments")
    turned = None if bits is None else bits.transpose(2, 1, 0)
    return labels.transpose(2, 1, 0), turned, Affine(affine[:, [2, 1, 0, 3]])


def _stack(frames: SegFrames, numbers: Mapping[int, int]) -> Read:
    """Place frames on the grid that their positions span; slices without a frame stay background."""
    origin, step, index = _slices(frames.positions, frames.normal, frames.thickness_mm)
    rows, columns = frames.masks.shape[1:]
    labels = np.zeros((columns, rows, int(index.max()) + 1), dtype=np.uint8)
    bits = _bits_for(numbers, labels.shape) if frames.numbers.all() else None
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([*frames.in_plane, step], axis=1)
    matrix[:3, 3] = origin
    for frame in np.argsort(frames.numbers, kind="stable"):
        plane = frames.masks[frame].T
        if frames.numbers[frame] == 0:  # a label map's frame holds the numbers themselves
            for number, mapped in sorted(numbers.items()):
                labels[..., index[frame]][plane == number] = mapped
        elif int(frames.numbers[frame]) in numbers:
            labels[..., index[frame]][plane != 0] = numbers[int(frames.numbers[frame])]
            if bits is not None:
                bits[..., index[frame]][plane != 0] |= 1 << (numbers[int(frames.numbers[frame])] - 1)
    return labels, bits, Affine(matrix)


def _slices(
    positions: NDArray[np.float64], normal: NDArray[np.float64], thickness_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Origin `(3,)`, step `(3,)` and slice number of each frame, whose positions `(N, 3)` lie evenly on one line."""
    along = positions @ normal
    distinct = np.unique(np.round(along, 3))
    first, last = positions[np.argmin(along)], positions[np.argmax(along)]
    if len(distinct) == 1:
        return first, normal * thickness_mm, np.zeros(len(positions), dtype=np.intp)
    gap = float(np.diff(distinct).min())
    count = round(float(along.max() - along.min()) / gap)
    step = (last - first) / count
    index = np.rint((along - along.min()) / (along.max() - along.min()) * count).astype(np.intp)
    if np.abs(first + index[:, None] * step - positions).max() > 0.02 * gap + 1e-3:
        raise ValueError("planes are not evenly spaced")
    return first, step, index


def _segments(header: Dataset, path: Path) -> dict[int, Segment]:
    """Segment number of the file -> segment; background items (number 0) are none."""
    items = {int(item.SegmentNumber): item for item in header.get("SegmentSequence") or [] if item.SegmentNumber}
    if not items:
        raise UnreadableFileError("it names no segments")
    if len(items) > _MOST_SEGMENTS:
        detail = f"{path.name} has {len(items)} segments; at most {_MOST_SEGMENTS} fit a label map"
        raise UnreadableFileError(detail, reason="TOO_MANY_SEGMENTS")
    fits = max(items) <= _MOST_SEGMENTS
    return {
        number: _segment(item, number if fits else place, number)
        for place, (number, item) in enumerate(sorted(items.items()), start=1)
    }


def _segment(item: Dataset, number: int, original: int) -> Segment:
    algorithm = str(item.get("SegmentAlgorithmType") or "AUTOMATIC")
    known = algorithm if algorithm in ("AUTOMATIC", "SEMIAUTOMATIC", "MANUAL") else "AUTOMATIC"
    return Segment(
        number=number,
        name=str(item.get("SegmentLabel") or f"segment_{original}"),
        category=code_of(item.get("SegmentedPropertyCategoryCodeSequence")),
        type=code_of(item.get("SegmentedPropertyTypeCodeSequence")),
        algorithm_type=cast(Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"], known),
    )


def code_of(sequence: Sequence[Any] | None) -> Code | None:
    """The first coded concept of a code sequence (PS3.3 section 8.8); None for an empty one."""
    if not sequence:
        return None
    item = sequence[0]
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return Code(
        value=str(value),
        scheme=str(item.get("CodingSchemeDesignator") or ""),
        meaning=str(item.get("CodeMeaning") or ""),
    )
