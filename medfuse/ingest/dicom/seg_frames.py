"""The frames of a DICOM segmentation with pydicom alone: where each lies, whose it is, and its pixels.

Packed bits (Bits Allocated 1) come native, as RLE of the packed bytes, or deflated frame by frame (PS3.5 section
8.2 and annex A.4); pydicom has no decoder for the last two.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

from medfuse.ingest.dicom.files import open_bounded

_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_LABELMAP = "LABELMAP"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegFrames:
    """The frames of one object.

    Args:
        masks: Shape `(N, rows, columns)`; nonzero is inside, or the segment numbers of a label map.
        numbers: Segment of each frame, `(N,)`; 0 for the frames of a label map.
        positions: Centre of each frame's first pixel, LPS mm, `(N, 3)`.
        in_plane: Step from column to column and from row to row, LPS mm, each `(3,)`.
        normal: Unit normal of the planes, `(3,)`.
        thickness_mm: Distance between planes as the header announces it.
    """

    masks: NDArray[Any]
    numbers: NDArray[np.intp]
    positions: NDArray[np.float64]
    in_plane: tuple[NDArray[np.float64], NDArray[np.float64]]
    normal: NDArray[np.float64]
    thickness_mm: float


def frames_of_seg(path: Path) -> SegFrames:
    """Read the frames of a segmentation object.

    Raises:
        ValueError: The object breaks the standard; as `READ_ERRORS` of pydicom do.
    """
    with open_bounded(path) as file:
        dataset = pydicom.dcmread(file)
    count = int(dataset.get("NumberOfFrames") or 1)
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if len(groups) != count:
        raise ValueError("functional groups do not match the number of frames")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    orientations = np.array([_plane_orientation(group, shared) for group in groups])
    if np.abs(orientations - orientations[0]).max() > 1e-4:
        raise ValueError("frames turn against each other")
    row, column = orientations[0][:3], orientations[0][3:]
    spacing = _macro(groups[0], shared, "PixelMeasuresSequence")
    row_spacing, column_spacing = (float(value) for value in spacing.PixelSpacing)
    is_label_map = dataset.get("SegmentationType") == _LABELMAP
    return SegFrames(
        masks=_masks(dataset, count),
        numbers=np.array([0 if is_label_map else _segment_number(group, shared) for group in groups], dtype=np.intp),
        positions=np.array([_position(group, shared) for group in groups]),
        in_plane=(row * column_spacing, column * row_spacing),
        normal=np.cross(row, column),
        thickness_mm=float(spacing.get("SpacingBetweenSlices") or spacing.get("SliceThickness") or 1),
    )


def _macro(group: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """The one item of a functional group, of this frame or of all frames."""
    sequence = group.get(keyword) or shared.get(keyword)
    if not sequence:
        raise ValueError(f"no {keyword}")
    item: Dataset = sequence[0]
    return item


def _plane_orientation(group: Dataset, shared: Dataset) -> list[float]:
    return [float(x) for x in _macro(group, shared, "PlaneOrientationSequence").ImageOrientationPatient]


def _position(group: Dataset, shared: Dataset) -> list[float]:
    return [float(x) for x in _macro(group, shared, "PlanePositionSequence").ImagePositionPatient]


def _segment_number(group: Dataset, shared: Dataset) -> int:
    return int(_macro(group, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)


def _masks(dataset: Dataset, count: int) -> NDArray[Any]:
    """Frames `(N, rows, columns)`: packed bits, fractions from one half on, or segment numbers."""
    shape = (count, int(dataset.Rows), int(dataset.Columns))
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if dataset.BitsAllocated == 1 and syntax in (RLELossless, _DEFLATED_FRAMES):
        return np.stack([_unpacked(frame, shape[1:]) for frame in _packed_frames(dataset, count, syntax)])
    if syntax == _DEFLATED_FRAMES:
        frames = [zlib.decompress(frame, -zlib.MAX_WBITS) for frame in generate_frames(dataset.PixelData)]
        pixels = np.stack(
            [np.frombuffer(frame, np.uint8)[: shape[1] * shape[2]].reshape(shape[1:]) for frame in frames]
        )
    else:
        pixels = np.reshape(dataset.pixel_array, shape)
    if dataset.get("SegmentationType") == "FRACTIONAL":
        return np.asarray(pixels >= 0.5 * int(dataset.get("MaximumFractionalValue") or 255))
    return pixels


def _packed_frames(dataset: Dataset, count: int, syntax: str) -> Iterator[bytes]:
    for frame in generate_frames(dataset.PixelData, number_of_frames=count):
        yield _rle_decoded(frame) if syntax == RLELossless else zlib.decompress(frame, -zlib.MAX_WBITS)


def _unpacked(packed: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little", count=int(np.prod(shape)))
    return bits.reshape(shape)


def _rle_decoded(frame: bytes) -> bytes:
    """The one segment of an RLE frame (PS3.5 section G.3: runs and literals)."""
    start = int.from_bytes(frame[4:8], "little")
    out, at = bytearray(), start
    while at < len(frame) - 1:
        code = frame[at]
        if code < 128:
            out += frame[at + 1 : at + 2 + code]
            at += 2 + code
        else:
            if code > 128:
                out += frame[at + 1 : at + 2] * (257 - code)
            at += 2 if code > 128 else 1
    return bytes(out)
