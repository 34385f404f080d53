"""RT Structure Sets -> label maps (PS3.3 sections C.8.8.5 and C.8.8.6): contours drawn onto a volume's grid.

Contours are placed by their coordinates in the patient alone, so that references to missing or renamed images do no
harm. Points and open contours enclose nothing and are left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medfuse.domain import Segment, Segmentation, VolumeGeometry
from medfuse.domain.segmentation import AlgorithmType
from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.contours import Contour, contour_mask, plane_positions
from medfuse.ingest.dicom.files import READ_ERRORS, quiet, read_header
from medfuse.ingest.dicom.seg import code_of

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
"""RT Structure Set Storage."""

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")
_MOST_SEGMENTS = 255
_ALGORITHMS: dict[str, AlgorithmType] = {
    "AUTOMATIC": "AUTOMATIC",
    "SEMIAUTOMATIC": "SEMIAUTOMATIC",
    "MANUAL": "MANUAL",
}


def read_rtstruct(path: Path, on: VolumeGeometry) -> Segmentation:
    """Draw the regions of a structure set onto a grid.

    Each region is a segment under its ROI Number (counted from 1 where numbers do not fit 1 to 255) and ROI Name.
    Where regions overlap, the smaller one stands: an outline of the body hides no organ.

    Args:
        path: An RTSTRUCT file of any name.
        on: Grid of the result, LPS mm; it may be sheared.

    Raises:
        UnreadableFileError: `NO_CONTOURS`, `TOO_MANY_SEGMENTS` or `UNREADABLE_SEGMENTATION`.
    """
    try:
        with quiet():
            regions = _regions(read_header(path)[0], path)
    except UnreadableFileError as error:
        if path.name in str(error):
            raise
        raise _unreadable(path, error.detail) from error
    except READ_ERRORS as error:
        raise _unreadable(path, type(error).__name__) from error
    if not any(contours for _, contours in regions):
        raise UnreadableFileError(f"{path.name} holds no closed contour", reason="NO_CONTOURS")
    return Segmentation(
        label_map=_label_map(regions, on), geometry=on, segments=tuple(segment for segment, _ in regions)
    )


Regions = Sequence[tuple[Segment, Sequence[Contour]]]


def _unreadable(path: Path, why: str) -> UnreadableFileError:
    return UnreadableFileError(f"{path.name} is no structure set ({why})", reason="UNREADABLE_SEGMENTATION")


def _label_map(regions: Regions, on: VolumeGeometry) -> Any:
    usual = _usual_step(regions, on)
    masks = []
    for segment, contours in regions:
        mask = contour_mask(contours, on, usual_step=usual)
        masks.append((int(np.count_nonzero(mask)), segment.number, np.flatnonzero(mask)))
    labels = np.zeros(on.shape, dtype=np.uint8)
    for _, number, voxels in sorted(masks, key=lambda mask: (-mask[0], mask[1])):
        labels.reshape(-1)[voxels] = number
    return labels


def _usual_step(regions: Regions, on: VolumeGeometry) -> float | None:
    """Median distance between neighbouring contour planes of all regions, in slices of `on`."""
    gaps = [np.diff(plane_positions(contours, on)) for _, contours in regions]
    every = np.concatenate(gaps) if gaps else np.zeros(0)
    return float(np.median(every)) if len(every) else None


def _regions(dataset: Dataset, path: Path) -> list[tuple[Segment, list[Contour]]]:
    items = list(dataset.get("StructureSetROISequence") or [])
    if len(items) > _MOST_SEGMENTS:
        detail = f"{path.name} has {len(items)} regions; at most {_MOST_SEGMENTS} fit a label map"
        raise UnreadableFileError(detail, reason="TOO_MANY_SEGMENTS")
    drawn: dict[int, list[Contour]] = {}
    for item in dataset.get("ROIContourSequence") or []:
        drawn.setdefault(int(item.ReferencedROINumber), []).extend(_contours(item))
    observed = {int(item.ReferencedROINumber): item for item in dataset.get("RTROIObservationsSequence") or []}
    numbers = [int(item.ROINumber) for item in items]
    fits = len(set(numbers)) == len(numbers) and all(1 <= number <= _MOST_SEGMENTS for number in numbers)
    ordered = sorted(zip(numbers, items, strict=True), key=lambda pair: pair[0])
    return [
        (_segment(number if fits else place, number, item, observed.get(number)), drawn.get(number, []))
        for place, (number, item) in enumerate(ordered, start=1)
    ]


def _segment(number: int, original: int, item: Dataset, observed: Dataset | None) -> Segment:
    algorithm = str(item.get("ROIGenerationAlgorithm") or "").upper()
    return Segment(
        number=number,
        name=str(item.get("ROIName") or f"roi_{original}"),
        type=code_of(None if observed is None else observed.get("RTROIIdentificationCodeSequence")),
        algorithm_type=_ALGORITHMS.get(algorithm, "MANUAL"),
    )


def _contours(item: Dataset) -> list[Contour]:
    contours = []
    for contour in item.get("ContourSequence") or []:
        kind = str(contour.get("ContourGeometricType") or "").upper()
        if kind not in _CLOSED:
            continue
        points = np.array([float(value) for value in contour.get("ContourData") or []]).reshape(-1, 3)
        if not np.isfinite(points).all():
            raise ValueError("contour coordinates are no numbers")
        if len(points) >= 3:
            contours.append(Contour(points, exclusive=kind.endswith("XOR")))
    return contours
