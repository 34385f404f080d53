"""A DICOM series -> one volume in LPS millimetres, CT in Hounsfield units.

Handles classic series (one slice a file) and enhanced multi-frame objects (PS3.3 section C.7.6.16), native and
compressed. Geometry comes from positions and orientations alone; see `stack` for what is refused.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.processing import apply_modality_lut

from medfuse.domain import Modality, Quantity, Series, Volume
from medfuse.errors import UnreadableFileError, UnreadableSeriesError
from medfuse.ingest.dicom.files import READ_ERRORS, quiet, read_header
from medfuse.ingest.dicom.pixels import PixelFormat
from medfuse.ingest.dicom.stack import Frame, Stack, make_stack

AIR_HU = -1024.0
"""Value of CT voxels outside the scanned circle (Pixel Padding Value)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """One file of a series: its header, and how its pixels are stored."""

    dataset: FileDataset
    pixels: PixelFormat


def read_dicom_volume(series: Series) -> Volume:
    """Read a DICOM series as one volume.

    Args:
        series: Files in any order, with any instance numbers.

    Returns:
        Float32 voxels `(columns, rows, slices)`, k ascending along the slice normal (row cosines x column cosines);
        CT in HU, padding set to -1024 HU (CT) or 0.

    Raises:
        UnreadableSeriesError: The series is no regular stack, or its pixels cannot be read; `reason` says which.
    """
    sources, stack, notes = _read(series)
    try:
        voxels, pixel_notes = _read_voxels(series, sources, stack)
    except UnreadableSeriesError as error:
        raise _named(series, error) from error
    quantity = Quantity.HOUNSFIELD if series.modality is Modality.CT else Quantity.ARBITRARY
    return Volume(
        voxels=voxels,
        geometry=stack.geometry,
        quantity=quantity,
        provenance=(*notes, *stack.provenance, *pixel_notes),
    )


def source_datasets(series: Series) -> list[Dataset]:
    """Read the headers of a DICOM series in the order of the volume's slices, k ascending.

    Blanked SOP and series UIDs are filled from the meta header and from `series`; the study's are left as they are.

    Returns:
        One dataset a slice, without pixel data; for an enhanced multi-frame object the one dataset of its file;
        for NIfTI none.

    Raises:
        UnreadableSeriesError: As `read_dicom_volume`.
    """
    if series.is_nifti:
        return []
    sources, stack, _ = _read(series)
    ordered = dict.fromkeys(frame.path for frame in stack.frames)
    datasets: list[Dataset] = []
    for path in ordered:
        dataset = sources[path].dataset
        meta = getattr(dataset, "file_meta", {})
        for keyword, value in (
            ("SOPClassUID", meta.get("MediaStorageSOPClassUID")),
            ("SOPInstanceUID", meta.get("MediaStorageSOPInstanceUID")),
            ("SeriesInstanceUID", series.series_instance_uid),
        ):
            if not dataset.get(keyword) and value:
                setattr(dataset, keyword, value)
        datasets.append(dataset)
    return datasets


def _read(series: Series) -> tuple[dict[Path, _Source], Stack, tuple[str, ...]]:
    """Read the headers of a series and order its slices."""
    try:
        with quiet():
            sources, notes = _sources(series.files)
            frames = [frame for source in sources.values() for frame in _frames(source)]
            return sources, make_stack(frames), notes
    except UnreadableSeriesError as error:
        raise _named(series, error) from error
    except READ_ERRORS as error:
        raise UnreadableSeriesError(
            f"series {series.series_instance_uid} has headers that cannot be decoded ({type(error).__name__})",
            reason="UNREADABLE_HEADER",
        ) from error


def _named(series: Series, error: UnreadableSeriesError) -> UnreadableSeriesError:
    return UnreadableSeriesError(f"series {series.series_instance_uid}: {error.detail}", reason=error.reason)


def _sources(files: Sequence[Path]) -> tuple[dict[Path, _Source], tuple[str, ...]]:
    sources: dict[Path, _Source] = {}
    seen: set[tuple[str, str]] = set()
    copies = 0
    for path in sorted(files):
        try:
            dataset, span = read_header(path)
        except UnreadableFileError as error:
            raise UnreadableSeriesError(f"file {path.name} {error.detail}", reason=error.reason) from error
        identity = (str(dataset.get("SOPInstanceUID") or ""), str(dataset.get("ImagePositionPatient")))
        if identity[0] and identity in seen:
            copies += 1
            continue
        seen.add(identity)
        sources[path] = _Source(dataset=dataset, pixels=PixelFormat.read(path, dataset, span))
    return sources, ((f"dropped {copies} copies of instances",) if copies else ())


def _frames(source: _Source) -> list[Frame]:
    dataset = source.dataset
    if "MOSAIC" in (dataset.get("ImageType") or ()):
        raise UnreadableSeriesError("is a Siemens mosaic, which is not supported", reason="SIEMENS_MOSAIC")
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise UnreadableSeriesError("holds colour images, expected grey values", reason="COLOUR_IMAGE")
    if "PerFrameFunctionalGroupsSequence" not in dataset and "SharedFunctionalGroupsSequence" not in dataset:
        if source.pixels.n_frames > 1:
            raise UnreadableSeriesError(
                f"file {source.pixels.path.name} has {source.pixels.n_frames} frames and no position for each",
                reason="MISSING_GEOMETRY",
            )
        return [_frame(source, 0, dataset, dataset, dataset, dataset, "")]
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [Dataset()])
    if len(groups) != source.pixels.n_frames:
        raise UnreadableSeriesError(
            f"file {source.pixels.path.name} describes {len(groups)} frames, expected {source.pixels.n_frames}",
            reason="INCONSISTENT_GEOMETRY",
        )
    return [_enhanced_frame(source, index, group, shared) for index, group in enumerate(groups)]


def _enhanced_frame(source: _Source, index: int, group: Dataset, shared: Dataset) -> Frame:
    def macro(keyword: str) -> Dataset:
        items = group.get(keyword) or shared.get(keyword)
        return items[0] if items else Dataset()

    return _frame(
        source,
        index,
        macro("PlanePositionSequence"),
        macro("PlaneOrientationSequence"),
        macro("PixelMeasuresSequence"),
        macro("PixelValueTransformationSequence"),
        str(macro("FrameContentSequence").get("StackID") or ""),
    )


def _frame(
    source: _Source,
    index: int,
    position: Dataset,
    orientation: Dataset,
    measures: Dataset,
    rescale: Dataset,
    stack_id: str,
) -> Frame:
    path = source.pixels.path
    slope = rescale.get("RescaleSlope")
    intercept = rescale.get("RescaleIntercept")
    frame = Frame(
        path=path,
        index=index,
        position_mm=_numbers(position, "ImagePositionPatient", 3, path),
        orientation=_numbers(orientation, "ImageOrientationPatient", 6, path),
        spacing_mm=_numbers(measures, "PixelSpacing", 2, path),
        shape=source.pixels.shape,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        stack_id=stack_id,
    )
    if not np.isfinite([frame.slope, frame.intercept]).all() or frame.slope == 0:
        raise UnreadableSeriesError(
            f"file {path.name} has rescale slope {frame.slope} and intercept {frame.intercept}",
            reason="INVALID_RESCALE",
        )
    return frame


def _numbers(dataset: Dataset, keyword: str, count: int, path: Path) -> NDArray[np.float64]:
    values = dataset.get(keyword)
    if values is None or isinstance(values, (str, bytes)) or not hasattr(values, "__len__") or len(values) != count:
        raise UnreadableSeriesError(f"file {path.name} lacks {keyword}", reason="MISSING_GEOMETRY")
    return np.array([float(value) for value in values], dtype=np.float64)


def _read_voxels(
    series: Series, sources: dict[Path, _Source], stack: Stack
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    columns, rows, slices = stack.geometry.shape
    try:
        planes = np.empty((slices, rows, columns), dtype=np.float32)
    except MemoryError as error:
        raise UnreadableSeriesError(
            f"{slices} slices of {rows} x {columns} do not fit into memory", reason="TOO_LARGE"
        ) from error
    notes: Counter[str] = Counter()
    wanted: dict[Path, list[int]] = defaultdict(list)
    for k, frame in enumerate(stack.frames):
        wanted[frame.path].append(k)
    fill = AIR_HU if series.modality is Modality.CT else 0.0
    for path, slice_numbers in wanted.items():
        pixels = sources[path].pixels
        stored = pixels.frames([stack.frames[k].index for k in slice_numbers])
        for k, plane in zip(slice_numbers, stored, strict=True):
            padding = pixels.padding_mask(plane)
            _rescale(pixels.used_bits(plane), stack.frames[k], sources[path].dataset, planes[k])
            if padding is not None:
                planes[k][padding] = fill
                notes[f"set padding to {fill:g}"] += 1
    if len({(frame.slope, frame.intercept) for frame in stack.frames}) > 1:
        notes["rescale differs between slices"] += 1
    return planes.transpose(2, 1, 0), tuple(sorted(notes))


def _rescale(stored: NDArray[Any], frame: Frame, dataset: Dataset, out: NDArray[np.float32]) -> None:
    """Apply the modality LUT or the linear rescale of one slice (PS3.3 section C.11.1) into `out`."""
    if dataset.get("ModalityLUTSequence"):
        out[:] = apply_modality_lut(stored, dataset)
        return
    exact = np.float64 if stored.dtype.itemsize > 2 else np.float32
    np.multiply(stored, exact(frame.slope), out=out, dtype=exact, casting="unsafe")
    if frame.intercept:
        np.add(out, np.float32(frame.intercept), out=out)
