"""Siemens mosaics: many slices tiled into one image -> one frame a tile, each where it lies in the patient.

The position in the header is that of the mosaic as if it were one huge slice. How many tiles there are and which way
they follow each other stands in the CSA headers, private elements: the image header, which nibabel reads, and the
protocol (in the series header), whose planned slice positions settle the direction wherever they are given.

Sources: nibabel's notes on the CSA header and on mosaics (nibabel.nicom); dcm2niix and dicom2nifti for the protocol.
"""

import math
import re
import struct
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import Frame, by_number, number
from medfuse.ingest.dicom.header import Header, private_value

Vector = NDArray[np.float64]

_LEAST_COSINE = 0.99
_SLICE_POSITION = re.compile(rb"sSliceArray\.asSlice\[(\d+)\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*([-+.\deE]+)")


def mosaic_frames(path: Path, header: Header, whole_image: Frame) -> list[Frame]:
    """One frame a tile, in the order of the slices.

    Args:
        path: The file.
        header: Its header, with private elements.
        whole_image: The mosaic read as if it were one slice.

    Raises:
        UnreadableSeriesError: `MOSAIC_UNREADABLE`.
    """
    image, protocol = _csa_bytes(header, 0x10), _csa_bytes(header, 0x20)
    count = _count(image, protocol)
    if count < 1:
        raise _unreadable(path, "has no CSA header, (0029,1010) or (0029,1020), that tells how many slices it holds")
    per_side = math.ceil(math.sqrt(count))
    rows, columns = (n // per_side for n in whole_image.shape)
    if rows < 1 or columns < 1 or any(n % per_side for n in whole_image.shape):
        raise _unreadable(path, f"has a matrix {whole_image.shape} that does not hold {count} tiles")
    first = _first_position(whole_image, rows, columns)
    step = _step(path, header, whole_image, (image, protocol), first, (rows, columns, count))
    return [
        replace(
            whole_image,
            tile=(n // per_side * rows, n % per_side * columns),
            position_mm=tuple((first + n * step).tolist()),
            shape=(rows, columns),
        )
        for n in range(count)
    ]


def _first_position(whole_image: Frame, rows: int, columns: int) -> Vector:
    """Centre of the first pixel of the first tile, which lies in the middle of the mosaic taken as one slice."""
    row, column = np.array(whole_image.orientation[:3]), np.array(whole_image.orientation[3:])
    between_rows, between_columns = whole_image.spacing_mm
    return (
        np.array(whole_image.position_mm)
        + row * between_columns * (whole_image.shape[1] - columns) / 2
        + column * between_rows * (whole_image.shape[0] - rows) / 2
    )


def _step(
    path: Path,
    header: Header,
    whole_image: Frame,
    csa: tuple[bytes, bytes],
    first: Vector,
    size: tuple[int, int, int],
) -> Vector:
    """From one slice to the next, LPS mm: as far as the slices are apart, in the direction that the scanner names."""
    row, column = np.array(whole_image.orientation[:3]), np.array(whole_image.orientation[3:])
    normal = np.cross(row, column)
    spacing = number(header.get("SpacingBetweenSlices")) or number(header.get("SliceThickness"))
    if not spacing or spacing <= 0:
        raise _unreadable(path, "lacks SpacingBetweenSlices (0018,0088)")
    rows, columns, count = size
    between_rows, between_columns = whole_image.spacing_mm
    centre = first + row * between_columns * columns / 2 + column * between_rows * rows / 2
    ends = [centre + sign * (count - 1) * spacing * normal for sign in (1, -1)]
    planned = _planned_positions(csa[1])
    if len(planned) == count and count > 1:
        errors = [min(_distance(planned, centre, end), _distance(planned[::-1], centre, end)) for end in ends]
        if min(errors) < spacing / 2 and abs(errors[0] - errors[1]) > spacing:
            return (spacing if errors[0] < errors[1] else -spacing) * normal
    named = _csa(csa[0], "get_slice_normal")
    if named is None or abs(float(normal @ named)) < _LEAST_COSINE:
        raise _unreadable(path, "has no CSA header that tells which way its slices follow each other")
    return math.copysign(spacing, float(normal @ named)) * normal


def _distance(planned: Vector, centre: Vector, end: Vector) -> float:
    """How far the first and last planned slice are from where a direction would put them, in mm."""
    return float(np.linalg.norm(planned[0] - centre) + np.linalg.norm(planned[-1] - end))


def _count(image: bytes, protocol: bytes) -> int:
    count = _csa(image, "get_n_mosaic")
    match = None if count else re.search(rb"sSliceArray\.lSize\s*=\s*(\d+)", protocol)
    return int(match[1]) if match else int(count or 0)


def _planned_positions(protocol: bytes) -> Vector:
    """Centres of the slices as the protocol plans them, LPS mm, shape `(n, 3)`; a coordinate of 0 is not written."""
    places: dict[int, list[float]] = {}
    for number_, axis, value in _SLICE_POSITION.findall(protocol):
        places.setdefault(int(number_), [0.0, 0.0, 0.0])[(b"Sag", b"Cor", b"Tra").index(axis)] = float(value)
    return np.array([places[n] for n in sorted(places)])


def _csa(raw: bytes, getter: str) -> Any:
    """One value of a CSA image header; None where it cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # nibabel calls its DICOM readers experimental
        from nibabel.nicom import csareader

    reader: Any = csareader
    try:
        return getattr(reader, getter)(reader.read(raw)) if raw else None
    except (
        reader.CSAReadError,
        AssertionError,
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        struct.error,
    ):
        return None


def _csa_bytes(header: Header, element: int) -> bytes:
    value = private_value(header, 0x0029, "SIEMENS CSA HEADER", element)
    if value is None:
        value = by_number(header, 0x00291000 | element)
    return value if isinstance(value, bytes) else b""


def _unreadable(path: Path, detail: str) -> UnreadableSeriesError:
    return UnreadableSeriesError(
        f"file {path.name} is a Siemens mosaic: it {detail}; export it anew with private elements, or as single slices",
        reason="MOSAIC_UNREADABLE",
    )
