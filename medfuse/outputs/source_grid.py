"""Which DICOM instance or frame each slice of a label map lies on.

A segmentation may refer to exactly the images on its grid and to no others (PS3.3 section C.8.20.3.3), so the positions
of the source headers are held against the grid of the label map before anything is written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import VolumeGeometry
from medfuse.errors import StudyError

if TYPE_CHECKING:
    from pydicom import Dataset

POSITION_TOLERANCE = 0.02
"""Largest distance between a slice and its source image, as a share of the smallest voxel edge."""

NO_DICOM_SEG = "NO_DICOM_SEG"
"""Reason code of a study whose segmentation cannot be written as DICOM SEG."""


class SourceGridError(StudyError):
    """The source headers cannot carry a DICOM SEG of this label map."""

    default_reason = NO_DICOM_SEG


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourcePlane:
    """One image plane of a DICOM instance.

    Args:
        position_mm: Image Position (Patient), LPS mm, shape `(3,)`.
        orientation: Image Orientation (Patient), shape `(6,)`: along a row, then along a column.
        spacing_mm: Pixel Spacing, shape `(2,)`: between rows, then between columns.
    """

    position_mm: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]


class Reference(NamedTuple):
    """One source image: its number among the sources, and its frame, from 1, where it has several."""

    source: int
    frame: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedSources:
    """Where the slices of a grid are, and which source images lie there.

    Args:
        positions_mm: Of each slice, taken from its source image; shape `(K, 3)`, LPS mm.
        orientation: Image Orientation (Patient) of the source images, shape `(6,)`.
        references: The source images of each slice; none for one that was filled in.
    """

    positions_mm: NDArray[np.float64]
    orientation: NDArray[np.float64]
    references: tuple[tuple[Reference, ...], ...]


def source_planes(source: "Dataset") -> tuple[SourcePlane, ...]:
    """The planes of an instance: one of a classic image, one a frame of an enhanced one.

    Raises:
        SourceGridError: A plane lacks its position, orientation or spacing.
    """
    try:
        return tuple(_planes(source))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        # The header's own words could name the patient: they stay out of the message and of the chain.
        detail = "a source image has no Image Position, Image Orientation or Pixel Spacing"
        raise SourceGridError(detail) from None


def place_sources(sources: Sequence["Dataset"], geometry: VolumeGeometry) -> PlacedSources:
    """Find the source images that the slices of a grid lie on.

    A slice without a source image (one that was missing and was filled in) keeps its place on the grid and refers to
    nothing. Frames of an enhanced instance that lie elsewhere belong to other volumes of its series.

    Raises:
        SourceGridError: The size, orientation or spacing differs, or a source image is not on the grid.
    """
    for source in sources:
        if "MOSAIC" in (source.get("ImageType") or ()):
            raise SourceGridError("the source images are Siemens mosaics, whose slices no reference can name")
        if (int(source.Columns), int(source.Rows)) != geometry.shape[:2]:
            found, expected = f"{source.Columns}x{source.Rows}", f"{geometry.shape[0]}x{geometry.shape[1]}"
            raise SourceGridError(f"the source images are {found}, the label map is {expected}")
    grid_mm = geometry.affine.apply([(0, 0, k) for k in range(geometry.shape[2])])
    tolerance_mm = POSITION_TOLERANCE * float(geometry.affine.spacing_mm.min())
    positions = grid_mm.copy()
    references: list[list[Reference]] = [[] for _ in grid_mm]
    orientation: NDArray[np.float64] | None = None
    for number, source in enumerate(sources):
        nearest_mm = np.inf
        for index, plane in enumerate(source_planes(source)):
            if not _is_parallel(plane, geometry, tolerance_mm):
                continue
            distances = np.linalg.norm(grid_mm - plane.position_mm, axis=1)
            k = int(np.argmin(distances))
            nearest_mm = min(nearest_mm, float(distances[k]))
            if distances[k] <= tolerance_mm:
                positions[k] = plane.position_mm
                orientation = plane.orientation if orientation is None else orientation
                references[k].append(Reference(number, index + 1 if _is_multi_frame(source) else None))
        if nearest_mm == np.inf:
            raise SourceGridError("a source image has another orientation or pixel spacing than the label map")
        if nearest_mm > tolerance_mm and _is_multi_frame(source):
            raise SourceGridError("no source image lies on the label map's grid")
        if nearest_mm > tolerance_mm:
            raise SourceGridError(f"a source image lies {nearest_mm:.3g} mm off the label map's grid")
    if orientation is None:
        raise SourceGridError("no source image lies on the label map's grid")
    return PlacedSources(positions_mm=positions, orientation=orientation, references=tuple(map(tuple, references)))


def _is_multi_frame(source: "Dataset") -> bool:
    return "PerFrameFunctionalGroupsSequence" in source or int(source.get("NumberOfFrames") or 1) > 1


def _planes(source: "Dataset") -> Iterator[SourcePlane]:
    shared: Any = (source.get("SharedFunctionalGroupsSequence") or [source])[0]
    for frame in source.get("PerFrameFunctionalGroupsSequence") or [source]:
        yield SourcePlane(
            position_mm=_numbers("PlanePositionSequence", "ImagePositionPatient", frame, shared),
            orientation=_numbers("PlaneOrientationSequence", "ImageOrientationPatient", frame, shared),
            spacing_mm=_numbers("PixelMeasuresSequence", "PixelSpacing", frame, shared),
        )


def _numbers(sequence: str, keyword: str, frame: "Dataset", shared: "Dataset") -> NDArray[np.float64]:
    for place in (frame, shared):
        holder = place[sequence][0] if sequence in place else place
        if keyword in holder:
            return np.array([float(number) for number in holder[keyword].value])
    raise KeyError(keyword)


def _is_parallel(plane: SourcePlane, geometry: VolumeGeometry, tolerance_mm: float) -> bool:
    """Whether the far corner of the plane is where the grid has it, seen from the near corner."""
    columns, rows = geometry.shape[0] - 1, geometry.shape[1] - 1
    along_row = plane.orientation[:3] * plane.spacing_mm[1] * columns
    along_column = plane.orientation[3:] * plane.spacing_mm[0] * rows
    steps = geometry.affine.matrix[:3, :3]
    return bool(
        np.linalg.norm(along_row - steps[:, 0] * columns) <= tolerance_mm
        and np.linalg.norm(along_column - steps[:, 1] * rows) <= tolerance_mm
    )
