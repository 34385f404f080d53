"""The NIfTI doors: RAS files on one side, LPS volumes and label maps on the other.

nibabel reads and writes; this module turns the frame, respects `scl_slope` and `scl_inter`, and writes whole files
or none. Source: the NIfTI-1 standard (Cox et al. 2004), whose world is RAS+ in mm.
"""

import gzip
import logging
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Image
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medfuse.domain import (
    Acquisition,
    Affine,
    HeaderCorrection,
    Modality,
    Quantity,
    Segmentation,
    Series,
    Study,
    Volume,
    VolumeGeometry,
    pseudonym,
)
from medfuse.errors import UnreadableFileError, UnreadableSeriesError
from medfuse.ingest.nifti_grid import grid_of
from medfuse.ingest.uids import made_uid, path_uid
from medfuse.storage import write_file

_READ_ERRORS = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, TypeError, KeyError, zlib.error)
_MOST_GZIP_RATIO = 1100
_SUFFIXES = (".nii.gz", ".nii")
_PLANES = ("sagittal", "coronal", "axial")
_LEAST_BRIGHTEST_HU = -200.0


def is_nifti_name(path: Path) -> bool:
    """Whether the file name ends like a single-file NIfTI."""
    return path.name.endswith(_SUFFIXES)


def nifti_stem(path: Path) -> str:
    """The file name without `.nii` or `.nii.gz`."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def nifti_study(
    path: Path,
    *,
    segmentations: tuple[Path, ...] = (),
    modality: Modality = Modality.OTHER,
    channels: tuple[tuple[str, Modality], ...] = (),
) -> Study:
    """Make a study of one NIfTI file; UIDs and the patient key are hashes of its path.

    Args:
        path: A 3D file, or a 4D one whose last axis holds channels: a series each.
        segmentations: Label maps of it.
        modality: What made it, where that is known.
        channels: Description and modality of each channel, where they are known.

    Raises:
        UnreadableFileError: The header cannot be read, or has neither 3 nor 4 axes.
    """
    series = nifti_series(path, modality=modality, channels=channels)
    uid = path_uid(path, "study")
    return Study(
        study_instance_uid=uid,
        patient_key=pseudonym(uid),
        path=path,
        series=series,
        segmentations=segmentations,
    )


def nifti_series(
    path: Path,
    *,
    uid_parts: tuple[str, ...] = (),
    modality: Modality = Modality.OTHER,
    channels: tuple[tuple[str, Modality], ...] = (),
    acquisition: Acquisition | None = None,
    correction: HeaderCorrection | None = None,
) -> tuple[Series, ...]:
    """The series of one NIfTI file, from its header alone.

    Args:
        path: A 3D file, or a 4D one whose last axis holds channels: a series each.
        uid_parts: What its UIDs are made of, with the channel's index; the path when empty.
        modality: What made it, where that is known.
        channels: Description and modality of each channel, where they are known.
        acquisition: What is known of how it was made; slices, spacing and orientation are added from the grid.
        correction: What is known better than the header.

    Raises:
        UnreadableFileError: The header cannot be read, has neither 3 nor 4 axes, or states no usable grid.
    """
    image = _open(path)
    shape = image.shape
    if len(shape) not in (3, 4):
        raise UnreadableFileError(f"{path.name} has shape {shape}, expected 3 or 4 axes")
    try:
        grid, _ = grid_of(image, shape, path, correction)
    except UnreadableSeriesError as error:
        raise UnreadableFileError(error.detail, reason=error.reason) from error
    acquisition = replace(
        acquisition or Acquisition(),
        n_slices=grid.shape[2],
        spacing_mm=tuple(grid.affine.spacing_mm.round(6).tolist()),
        orientation=plane_of(grid.affine),
    )
    is_part = len(shape) == 4
    series = []
    for channel in range(shape[3] if is_part else 1):
        description, kind = channels[channel] if channel < len(channels) else ("", modality)
        part = str(channel)
        series.append(
            Series(
                series_instance_uid=made_uid(*uid_parts, part) if uid_parts else path_uid(path, "series", part),
                modality=kind,
                description=description,
                number=channel + 1 if is_part else None,
                files=(path,),
                channel=channel if is_part else None,
                acquisition=acquisition,
                correction=correction,
            )
        )
    return tuple(series)


def plane_of(affine: Affine) -> str:
    """`axial`, `coronal` or `sagittal` by the k axis; `oblique` when that is over 25 degrees away from the nearest."""
    normal = np.abs(affine.direction[:, 2])
    return _PLANES[int(normal.argmax())] if normal.max() >= np.cos(np.deg2rad(25.0)) else "oblique"


def read_nifti_series(series: Series) -> Volume:
    """Read the file of a NIfTI series as a volume, its correction applied; see `read_nifti`."""
    return read_nifti(series.files[0], channel=series.channel, modality=series.modality, correction=series.correction)


def read_nifti(
    path: Path,
    *,
    channel: int | None = None,
    modality: Modality = Modality.OTHER,
    correction: HeaderCorrection | None = None,
) -> Volume:
    """Read a NIfTI file as a volume in LPS.

    Args:
        path: `.nii` or `.nii.gz`.
        channel: Index into the last axis of a 4D file; needed there, unless that axis has one entry.
        modality: Says the quantity: CT is taken as HU.
        correction: What is known better than the header: grid, and the rescaling of the stored values.

    Returns:
        Float32 voxels in the file's own axis order, `scl_slope` and `scl_inter` applied. What was assumed, repaired
        or corrected is in the provenance.

    Raises:
        UnreadableSeriesError: `UNREADABLE_FILE`, `INCONSISTENT_GEOMETRY`, `CHANNEL_NEEDED` for a 4D file, or
            `HU_IMPLAUSIBLE` for a CT that a correction leaves without any tissue.
    """
    try:
        image = _open(path)
        voxels = np.asarray(_values(image, path, channel), dtype=np.float32)
    except UnreadableFileError as error:
        raise UnreadableSeriesError(error.detail, reason=error.reason) from error
    grid, grid_notes = grid_of(image, voxels.shape, path, correction)
    notes = list(grid_notes)
    if not np.isfinite(voxels).all():
        fill = -1024.0 if modality is Modality.CT else 0.0
        voxels = np.nan_to_num(voxels, nan=fill, posinf=fill, neginf=fill)
        notes.append(f"set values that are not finite to {fill:g}")
    if correction is not None and correction.slope is not None:
        voxels = _rescaled(voxels, correction, correction.slope, path, modality)
        notes.append(f"rescaled by {correction.slope:g} and {correction.intercept:+g} as {correction.source} says")
    return Volume(
        voxels=voxels,
        geometry=grid,
        quantity=Quantity.HOUNSFIELD if modality is Modality.CT else Quantity.ARBITRARY,
        provenance=tuple(notes),
    )


def _rescaled(
    voxels: NDArray[np.float32], correction: HeaderCorrection, slope: float, path: Path, modality: Modality
) -> NDArray[np.float32]:
    """Apply a correction's rescale; a CT that is nothing but air then was rescaled before."""
    voxels = voxels * np.float32(slope) + np.float32(correction.intercept)
    if modality is Modality.CT and voxels.size and float(voxels.max()) < _LEAST_BRIGHTEST_HU:
        raise UnreadableSeriesError(
            f"{path.name}: rescaled as {correction.source} says, its brightest voxel has {float(voxels.max()):g} HU, "
            "which is no tissue; the file seems to hold HU already",
            reason="HU_IMPLAUSIBLE",
        )
    return voxels


def read_label_map(path: Path) -> tuple[NDArray[np.uint8], VolumeGeometry]:
    """Read a NIfTI label map: whole numbers from 0 to 255, shape `(I, J, K)`, and its grid in LPS.

    Raises:
        UnreadableFileError: The file cannot be read, or holds something else than labels.
    """
    image = _open(path)
    values = np.asarray(_values(image, path, None))
    labels = np.rint(np.nan_to_num(values))
    if labels.size and (labels.min() < 0 or labels.max() > 255 or np.abs(values - labels).max() > 1e-3):
        raise UnreadableFileError(f"{path.name} holds other values than labels from 0 to 255", reason="NOT_A_LABEL_MAP")
    try:
        return labels.astype(np.uint8), grid_of(image, labels.shape, path)[0]
    except UnreadableSeriesError as error:
        raise UnreadableFileError(error.detail, reason=error.reason) from error


def write_nifti(image: Volume | Segmentation, path: Path, *, dtype: Any = None) -> None:
    """Write a volume or a label map as NIfTI, whole or not at all.

    Args:
        image: Voxels in LPS; the file says RAS.
        path: Ends in `.nii` or `.nii.gz`. Missing folders are made, a file of that name is replaced.
        dtype: Type on disk, or None for the type of the voxels. No scaling is written.

    Raises:
        StorageError: The place cannot be written, or is full.
    """
    array = image.label_map if isinstance(image, Segmentation) else image.voxels
    array = array.astype(dtype or (np.uint8 if array.dtype == bool else array.dtype), copy=False)
    affine = image.geometry.affine
    file: Any = Nifti1Image(array, affine.to_ras(), dtype=array.dtype)  # type: ignore[no-untyped-call]
    file.header.set_xyzt_units("mm")
    file.set_sform(affine.to_ras(), code=1)
    file.set_qform(affine.to_ras() if affine.is_orthogonal else None, code=1 if affine.is_orthogonal else 0)
    if isinstance(image, Segmentation):
        file.header.set_intent("label")
    write_file(path, lambda aside: _save(file, aside))


def _save(file: Any, path: Path) -> None:
    with path.open("xb") as stream:
        if path.name.endswith(".gz"):
            with gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=3, mtime=0) as packed:
                file.to_stream(packed)
        else:
            file.to_stream(stream)


def _open(path: Path) -> Any:
    """The lazy nibabel image of a file; nibabel's own types stop here."""
    logger = logging.getLogger("nibabel")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        image = nibabel.load(path)
    except _READ_ERRORS as error:
        raise UnreadableFileError(f"{path.name} is no readable NIfTI file ({type(error).__name__})") from error
    finally:
        logger.setLevel(level)
    if not isinstance(image, Nifti1Image):
        raise UnreadableFileError(f"{path.name} is a {type(image).__name__}, expected a NIfTI file")
    return image


def _values(image: Any, path: Path, channel: int | None) -> Any:
    """The scaled values of a 3D file or of one channel of a 4D one, shape `(I, J, K)`."""
    dtype, shape = image.get_data_dtype(), image.shape
    if dtype.kind not in "iuf" or not 1 <= len(shape) <= 4 or min(shape) < 1:
        raise UnreadableFileError(f"{path.name} has shape {shape} of {dtype}, expected a 3D or 4D grid of numbers")
    announced = int(np.prod(shape, dtype=object)) * dtype.itemsize
    held = path.stat().st_size * (_MOST_GZIP_RATIO if path.name.endswith(".gz") else 1)
    if announced > held:
        raise UnreadableFileError(f"{path.name} announces {announced} bytes and cannot hold them; copy it anew")
    if len(shape) == 4 and channel is None and shape[3] > 1:
        raise UnreadableFileError(f"{path.name} has {shape[3]} channels; name one", reason="CHANNEL_NEEDED")
    if channel is not None and (len(shape) != 4 or channel >= shape[3]):
        raise UnreadableFileError(f"{path.name} has shape {shape} and no channel {channel}", reason="CHANNEL_NEEDED")
    try:
        values = np.asanyarray(image.dataobj[..., channel or 0] if len(shape) == 4 else image.dataobj)
    except _READ_ERRORS as error:
        raise UnreadableFileError(f"{path.name} breaks off or is damaged ({type(error).__name__})") from error
    return values.reshape(values.shape + (1,) * (3 - values.ndim))
