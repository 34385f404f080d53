"""Segmentations that come with a study -> label maps on the grid of a volume.

DICOM SEG (binary, fractional, label map; PS3.3 section C.8.20) is read with highdicom, which knows the frame
organisation of every writer; NIfTI label maps with nibabel. Nothing here writes.
"""

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfuse.domain import Affine, Code, Segment, Segmentation, VolumeGeometry
from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.files import READ_ERRORS, quiet
from medfuse.ingest.nifti import is_nifti_name, read_label_map

if TYPE_CHECKING:
    from highdicom.seg import Segmentation as DicomSegmentation

_WHOLE = 1e-3


def read_segmentation(path: Path, on: VolumeGeometry) -> Segmentation:
    """Read a DICOM SEG or a NIfTI label map onto a grid.

    Labels are carried over by position in the patient: each voxel of `on` takes the label of the nearest voxel of the
    file, and background outside of its grid. Grids that agree up to flips and order of axes give an exact copy.
    Fractions count from one half; where segments overlap, the one with the highest number stands.

    Args:
        path: DICOM SEG of any name, or `.nii`, `.nii.gz`.
        on: Grid of the result, LPS mm.

    Raises:
        UnreadableFileError: The file is no segmentation, or has no regular grid in the patient's frame.
    """
    if is_nifti_name(path):
        labels, grid = read_label_map(path)
        segments = _named_segments(path, labels)
    else:
        labels, grid, segments = _read_dicom(path)
    return Segmentation(label_map=resample_labels(labels, grid.affine, on), geometry=on, segments=segments)


def resample_labels(labels: NDArray[np.uint8], affine: Affine, on: VolumeGeometry) -> NDArray[np.uint8]:
    """Carry labels from the grid of `affine` to `on`, nearest neighbour, background outside.

    Args:
        labels: Shape `(I, J, K)`.
        affine: Index to LPS mm of `labels`.
        on: The grid to fill.
    """
    matrix = affine.inverse() @ on.affine.matrix
    linear, offset = matrix[:3, :3], matrix[:3, 3]
    axes = np.argmax(np.abs(linear), axis=1)
    rest = linear.copy()
    rest[np.arange(3), axes] = 0
    if sorted(axes) == [0, 1, 2] and (np.abs(rest) * np.array(on.shape)).max() < _WHOLE:
        return _gather(labels, linear, offset, axes, on.shape)
    out = ndimage.affine_transform(
        labels, linear, offset, output_shape=on.shape, order=0, mode="grid-constant", cval=0, prefilter=False
    )
    return np.asarray(out, dtype=np.uint8)


def _gather(
    labels: NDArray[np.uint8],
    linear: NDArray[np.float64],
    offset: NDArray[np.float64],
    axes: NDArray[np.intp],
    shape: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """Nearest neighbours between grids whose axes are parallel: a lookup along each axis."""
    lookups, inside = [], []
    for source_axis, target_axis in enumerate(axes):
        index = linear[source_axis, target_axis] * np.arange(shape[target_axis]) + offset[source_axis]
        nearest = np.floor(index + 0.5 + 1e-6).astype(np.int64)
        inside.append((nearest >= 0) & (nearest < labels.shape[source_axis]))
        lookups.append(np.clip(nearest, 0, labels.shape[source_axis] - 1))
    picked = labels[np.ix_(*lookups)]
    picked[~(inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :])] = 0
    return np.ascontiguousarray(picked.transpose(np.argsort(axes)))


def _named_segments(path: Path, labels: NDArray[np.uint8]) -> tuple[Segment, ...]:
    """Segments of a NIfTI label map: named by the `dataset.json` of its set, else `segment_<number>`."""
    names = _dataset_names(path.parent.parent / "dataset.json")
    present = set(np.flatnonzero(np.bincount(labels.ravel(), minlength=1)).tolist())
    numbers = sorted((present | set(names)) - {0})
    return tuple(
        Segment(number=number, name=names.get(number, f"segment_{number}"), algorithm_type="MANUAL")
        for number in numbers
    )


def _dataset_names(path: Path) -> dict[int, str]:
    """Label number -> name of a Decathlon (`{"1": "Anterior"}`) or nnU-Net (`{"Anterior": 1}`) description."""
    try:
        labels = json.loads(path.read_text(encoding="utf-8")).get("labels", {})
        pairs = [(value, key) if isinstance(value, int) else (int(key), str(value)) for key, value in labels.items()]
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    return {number: name for number, name in pairs if 1 <= number <= 255}


def _read_dicom(path: Path) -> tuple[NDArray[np.uint8], VolumeGeometry, tuple[Segment, ...]]:
    from highdicom.enum import CoordinateSystemNames
    from highdicom.seg import segread

    try:
        with quiet():
            file = segread(path)
            if file.coordinate_system is not CoordinateSystemNames.PATIENT:
                raise UnreadableFileError(
                    f"{path.name} has no position in the patient's frame", reason="NO_PATIENT_GEOMETRY"
                )
            segments = tuple(_segment(file, number) for number in sorted(file.segment_numbers))
            labels, affine = _label_map(file, segments)
    except (*READ_ERRORS, sqlite3.Error) as error:
        raise UnreadableFileError(
            f"{path.name} is no DICOM segmentation on a regular grid ({type(error).__name__})",
            reason="UNREADABLE_SEGMENTATION",
        ) from error
    return labels, VolumeGeometry(shape=cast(tuple[int, int, int], labels.shape), affine=affine), segments


def _label_map(file: "DicomSegmentation", segments: tuple[Segment, ...]) -> tuple[NDArray[np.uint8], Affine]:
    """Stack the segments on the object's own grid, one at a time, in ascending order."""
    labels: NDArray[np.uint8] | None = None
    affine: NDArray[np.float64] | None = None
    for segment in segments:
        volume = file.get_volume(segment_numbers=[segment.number], combine_segments=False)
        mask = np.asarray(volume.array)[..., 0] >= 0.5
        if labels is None:
            labels, affine = np.zeros(mask.shape, dtype=np.uint8), np.asarray(volume.affine)
        labels[mask] = segment.number
    if labels is None or affine is None:
        raise ValueError("no segments")
    return labels.transpose(2, 1, 0), Affine(affine[:, [2, 1, 0, 3]])


def _segment(file: "DicomSegmentation", number: int) -> Segment:
    description: Any = file.get_segment_description(number)
    algorithm = str(description.get("SegmentAlgorithmType") or "AUTOMATIC")
    known = algorithm if algorithm in ("AUTOMATIC", "SEMIAUTOMATIC", "MANUAL") else "AUTOMATIC"
    return Segment(
        number=number,
        name=str(description.get("SegmentLabel") or f"segment_{number}"),
        category=_code(description.get("SegmentedPropertyCategoryCodeSequence")),
        type=_code(description.get("SegmentedPropertyTypeCodeSequence")),
        algorithm_type=cast(Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"], known),
    )


def _code(sequence: Any) -> Code | None:
    if not sequence:
        return None
    item = sequence[0]
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return Code(
        value=str(value),
        scheme=str(item.get("CodingSchemeDesignator") or ""),
        meaning=str(item.get("CodeMeaning") or ""),
    )
