"""Which DICOM instance or frame each slice of a label map lies on.

A segmentation may refer to exactly the images on its grid and to no others (PS3.3 section C.8.20.3.3), so the positions
of the source headers are held against the grid of the label map before anything is written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


def slice_positions(sources: Sequence["Dataset"], geometry: VolumeGeometry) -> NDArray[np.float64]:
    """Where each slice of the grid is, taken from the source image that it lies on; shape `(K, 3)`, LPS mm.

    A slice without a source image (one that was missing and was filled in) keeps its place on the grid.

    Raises:
        SourceGridError: The size, orientation or spacing differs, or a source image is not on the grid.
    """
    for source in sources:
        if (int(source.Columns), int(source.Rows)) != geometry.shape[:2]:
            found, expected = f"{source.Columns}x{source.Rows}", f"{geometry.shape[0]}x{geometry.shape[1]}"
            raise SourceGridError(f"the source images are {found}, the label map is {expected}")
    positions = geometry.affine.apply([(0, 0, k) for k in range(geometry.shape[2])])
    tolerance_mm = POSITION_TOLERANCE * float(geometry.affine.spacing_mm.min())
    placed = 0
    for source in sources:
        planes = [plane for plane in source_planes(source) if _is_parallel(plane, geometry, tolerance_mm)]
        for plane in planes:
            distances = np.linalg.norm(positions - plane.position_mm, axis=1)
            nearest = int(np.argmin(distances))
            if distances[nearest] <= tolerance_mm:
                positions[nearest] = plane.position_mm
                placed += 1
            elif len(sources) > 1:
                raise SourceGridError(f"a source image lies {distances[nearest]:.3g} mm off the label map's grid")
        if not planes:
            raise SourceGridError("a source image has another orientation or pixel spacing than the label map")
    if not placed:
        raise SourceGridError("no source image lies on the label map's grid")
    return positions


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
