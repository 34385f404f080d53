"""Segmentations that come with a study -> label maps on the grid of a volume.

One door for every format: DICOM SEG (`seg`), RT Structure Sets (`rtstruct`), NIfTI label maps, and the XML of LIDC's
readers. Nothing here writes.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfuse.domain import Affine, Segment, Segmentation, VolumeGeometry
from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.files import quiet, read_header
from medfuse.ingest.dicom.rtstruct import RTSTRUCT_CLASS, read_rtstruct
from medfuse.ingest.dicom.seg import read_overlapping_seg
from medfuse.ingest.nifti import is_nifti_name, read_label_map

_WHOLE = 1e-3


def read_segmentation(path: Path, on: VolumeGeometry) -> Segmentation:
    """Read a segmentation of any known format onto a grid.

    Labels are carried over by position in the patient: each voxel of `on` takes the label of the nearest voxel of the
    file, and background outside of its grid. Grids that agree up to flips and order of axes give an exact copy.
    Contours are drawn on `on` itself. Fractions count from one half. Where segments of a DICOM SEG overlap, the one
    with the highest number stands in the label map, and the overlaps are kept beside it for up to eight segments; where
    regions of a structure set do, the smaller one stands.

    Args:
        path: DICOM SEG or RTSTRUCT of any name, `.nii`, `.nii.gz`, or LIDC's `.xml`.
        on: Grid of the result, LPS mm; it may be sheared.

    Raises:
        UnreadableFileError: The file is no segmentation, or has no regular grid in the patient's frame.
    """
    if path.suffix.lower() == ".xml":
        from medfuse.ingest.importers.lidc import read_lidc_segmentation

        return read_lidc_segmentation(path, on)
    overlaps: NDArray[np.uint8] | None = None
    if is_nifti_name(path):
        labels, grid = read_label_map(path)
        segments = _named_segments(path, labels)
    elif _sop_class(path) == RTSTRUCT_CLASS:
        return read_rtstruct(path, on)
    else:
        labels, overlaps, grid, segments = read_overlapping_seg(path)
    return Segmentation(
        label_map=resample_labels(labels, grid.affine, on),
        geometry=on,
        segments=segments,
        overlaps=None if overlaps is None else resample_labels(overlaps, grid.affine, on),
    )


def _sop_class(path: Path) -> str:
    try:
        with quiet():
            return str(read_header(path, ("SOPClassUID",))[0].get("SOPClassUID") or "")
    except UnreadableFileError as error:
        detail = f"{path.name} is no segmentation: it {error.detail}"
        raise UnreadableFileError(detail, reason="UNREADABLE_SEGMENTATION") from error


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
    """Segments of a NIfTI label map: named by its set's layout, else `segment_<number>`."""
    from medfuse.ingest.importers.segment_names import segment_names

    names = segment_names(path)
    present = set(np.flatnonzero(np.bincount(labels.ravel(), minlength=1)).tolist())
    numbers = sorted((present | set(names)) - {0})
    return tuple(
        Segment(number=number, name=names.get(number, f"segment_{number}"), algorithm_type="MANUAL")
        for number in numbers
    )
