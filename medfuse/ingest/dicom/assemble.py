"""A DICOM series -> one volume in LPS millimetres, CT in Hounsfield units, PET in SUV.

`frames` reads what each slice is, `split` finds the part of the series that is asked for, `stack` its grid, `pixels`
the values; then missing slices are filled in (`gaps`) and a tilted gantry is set upright (`tilt`), where asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from medfuse.domain import Modality, Quantity, Series, Volume
from medfuse.errors import UnreadableFileError, UnreadableSeriesError
from medfuse.ingest.dicom.files import READ_ERRORS, DicomFile, open_file, quiet, read_header
from medfuse.ingest.dicom.frames import Frame, frames_of, text
from medfuse.ingest.dicom.gaps import check_fillable, fill_gaps
from medfuse.ingest.dicom.pixels import FrameRequest, PixelFormat, read_frames_into
from medfuse.ingest.dicom.rescale import check_hounsfield, frame_scales, is_hounsfield, modality_lut
from medfuse.ingest.dicom.split import Part, parts_of
from medfuse.ingest.dicom.stack import Stack
from medfuse.ingest.dicom.suv import suv_scale
from medfuse.ingest.dicom.tilt import make_upright

AIR_HU = -1024.0
"""Value of CT voxels outside the scanned circle (Pixel Padding Value), and around a volume that was set upright."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Source:
    """The files of a part of a series, and the grid that its slices lie on."""

    files: dict[Path, DicomFile]
    pixels: dict[Path, PixelFormat]
    stack: Stack
    notes: tuple[str, ...]


def read_dicom_volume(series: Series, *, upright: bool = True, may_fill: bool = False) -> Volume:
    """Read a DICOM series, or the part of it that `series.part` names, as one volume.

    Args:
        series: Files in any order, with any instance numbers.
        upright: Whether a stack that a tilted gantry sheared is resampled to an upright grid.
        may_fill: Whether missing slices are interpolated; otherwise they are refused.

    Returns:
        Float32 voxels `(columns, rows, slices)`, k ascending along the slice normal (row cosines x column cosines);
        CT in HU, PET in SUV, padding set to -1024 HU (CT) or 0.

    Raises:
        UnreadableSeriesError: The series is no regular stack, or its pixels cannot be read; `reason` says which.
    """
    source = _read(series, may_fill=may_fill)
    try:
        with quiet():
            volume = _volume(series, source)
    except (UnreadableSeriesError, UnreadableFileError) as error:
        raise _named(series, error) from error
    except READ_ERRORS as error:
        raise _undecodable(series, error) from error
    return make_upright(volume, outside=air_value(series.modality)) if upright else volume


def air_value(modality: Modality) -> float:
    """The value of what holds no data: air in a CT, nothing elsewhere."""
    return AIR_HU if modality is Modality.CT else 0.0


def source_datasets(series: Series) -> list[Dataset]:
    """Read the headers of a DICOM series in the order of the volume's slices, k ascending.

    Blanked SOP and series UIDs are filled from the meta header and from `series`; the study's are left as they are.

    Returns:
        One dataset an existing slice, without pixel data; for an enhanced multi-frame object the one dataset of its
        file; for NIfTI none.

    Raises:
        UnreadableSeriesError: As `read_dicom_volume`, missing slices excepted.
    """
    if series.is_nifti:
        return []
    source = _read(series, may_fill=True)
    datasets = []
    with quiet():
        for path in dict.fromkeys(frame.path for frame in source.stack.frames):
            try:
                datasets.append(_with_uids(read_header(path)[0], series))
            except UnreadableFileError as error:
                raise _named(series, _of_file(path, error)) from error
            except READ_ERRORS as error:
                raise _undecodable(series, error) from error
    return datasets


def _with_uids(dataset: FileDataset, series: Series) -> Dataset:
    meta = getattr(dataset, "file_meta", {})
    for keyword, value in (
        ("SOPClassUID", meta.get("MediaStorageSOPClassUID")),
        ("SOPInstanceUID", meta.get("MediaStorageSOPInstanceUID")),
        ("SeriesInstanceUID", series.series_instance_uid),
    ):
        if not dataset.get(keyword) and value:
            setattr(dataset, keyword, value)
    return dataset


def _read(series: Series, *, may_fill: bool) -> _Source:
    """Read the headers of a series and find the part that is asked for."""
    try:
        with quiet():
            files = {path: _open(path) for path in sorted(series.files)}
            pixels = {path: PixelFormat.of(file) for path, file in files.items()}
            frames = [frame for file in files.values() for frame in frames_of(file.path, file.header)]
            part = _part(parts_of(frames), series.part)
            return _Source(files=files, pixels=pixels, stack=_stack(part, may_fill=may_fill), notes=part.notes)
    except UnreadableSeriesError as error:
        raise _named(series, error) from error
    except READ_ERRORS as error:
        raise _undecodable(series, error) from error


def _open(path: Path) -> DicomFile:
    try:
        return open_file(path)
    except UnreadableFileError as error:
        raise _of_file(path, error) from error


def _part(parts: Sequence[Part], name: str) -> Part:
    """The part that is asked for; the files of a part hold it alone, or all parts under their names."""
    found = next((part for part in parts if part.name == name), None)
    if found is None and len(parts) == 1:
        return parts[0]
    if found is None:
        names = ", ".join(part.name for part in parts[:6])
        raise UnreadableSeriesError(
            f"holds {len(parts)} volumes ({names}), none of them called {name or 'nothing'}; name one of them",
            reason="SEVERAL_VOLUMES",
        )
    return found


def _stack(part: Part, *, may_fill: bool) -> Stack:
    if part.stack is None or (part.refusal is not None and not may_fill):
        raise part.refusal or UnreadableSeriesError("has no grid", reason="INCONSISTENT_GEOMETRY")
    if part.stack.n_missing:
        check_fillable(part.stack)
    return part.stack


def _volume(series: Series, source: _Source) -> Volume:
    stack = source.stack
    headers = {path: file.header for path, file in source.files.items()}
    own = [headers[path] for path in dict.fromkeys(frame.path for frame in stack.frames)]
    suv = suv_scale(own) if series.modality is Modality.PT else None
    scales, notes = frame_scales(stack.frames, headers)
    if suv:
        scales = [(slope * suv.factor, intercept * suv.factor) for slope, intercept in scales]
        notes = (*notes, suv.note)
    planes, pixel_notes = _planes(source, scales, air_value(series.modality))
    is_hu = series.modality is Modality.CT and is_hounsfield(own[0])
    if is_hu:
        check_hounsfield(planes)
    if stack.n_missing:
        planes, filled = fill_gaps(planes, stack)
        notes = (*notes, filled)
    if any(text(header.get("PhotometricInterpretation")) == "MONOCHROME1" for header in own):
        notes = (*notes, "Meant to be displayed inverted (MONOCHROME1); values are as stored.")
    quantity = Quantity.SUV if suv else Quantity.HOUNSFIELD if is_hu else Quantity.ARBITRARY
    return Volume(
        voxels=planes.transpose(2, 1, 0),
        geometry=stack.geometry,
        quantity=quantity,
        provenance=(*source.notes, *stack.provenance, *notes, *pixel_notes),
    )


def _planes(
    source: _Source, scales: Sequence[tuple[float, float]], fill: float
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """The existing slices, shape `(n, rows, columns)`, and what is to say about them."""
    frames = source.stack.frames
    luts = {path: modality_lut(file.header, little_endian=file.little_endian) for path, file in source.files.items()}
    requests = [
        FrameRequest(source.pixels[frame.path], frame.index, slope, intercept, fill, luts[frame.path])
        for frame, (slope, intercept) in zip(frames, scales, strict=True)
    ]
    if frames[0].tile is not None:
        return _tiles(frames, requests)
    rows, columns = frames[0].shape
    planes = _empty((len(frames), rows, columns))
    padded = read_frames_into(planes, requests)
    return planes, _padding_note(padded, fill)


def _tiles(frames: Sequence[Frame], requests: Sequence[FrameRequest]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Cut the slices out of the mosaics that they are tiles of."""
    mosaics = list({id(request.pixels): request for request in requests}.values())
    whole = _empty((len(mosaics), *mosaics[0].pixels.shape))
    padded = read_frames_into(whole, mosaics)
    number_of = {id(request.pixels): n for n, request in enumerate(mosaics)}
    rows, columns = frames[0].shape
    planes = _empty((len(frames), rows, columns))
    for plane, frame, request in zip(planes, frames, requests, strict=True):
        top, left = frame.tile or (0, 0)
        plane[...] = whole[number_of[id(request.pixels)], top : top + rows, left : left + columns]
    return planes, ("Taken apart from a Siemens mosaic.", *_padding_note(padded, requests[0].fill))


def _padding_note(padded: int, fill: float) -> tuple[str, ...]:
    return (f"Set padding to {fill:g} in {padded} slices.",) if padded else ()


def _empty(shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        return np.empty(shape, dtype=np.float32)
    except MemoryError as error:
        raise UnreadableSeriesError(
            f"{shape[0]} slices of {shape[1]} x {shape[2]} do not fit into memory", reason="TOO_LARGE"
        ) from error


def _of_file(path: Path, error: UnreadableFileError) -> UnreadableSeriesError:
    return UnreadableSeriesError(f"file {path.name} {error.detail}", reason=error.reason)


def _named(series: Series, error: Any) -> UnreadableSeriesError:
    return UnreadableSeriesError(f"series {series.key}: {error.detail}", reason=error.reason)


def _undecodable(series: Series, error: Exception) -> UnreadableSeriesError:
    return UnreadableSeriesError(
        f"series {series.key} has headers that cannot be decoded ({type(error).__name__})", reason="UNREADABLE_HEADER"
    )
