"""Made RT structure sets with a known truth, for the tests of ingest."""

from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.unit.ingest.made_dicom import save, uid

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
Polygon = NDArray[np.float64]


def circle(centre: Many[float], radius: float, axes: tuple[Many[float], Many[float]], n: int = 180) -> Polygon:
    """Corners `(n, 3)` of a circle in the plane of two unit vectors, mm."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    first, second = (np.asarray(axis, dtype=float) for axis in axes)
    return np.asarray(centre) + radius * (np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second)


def square(low: float, high: float, z: float) -> Polygon:
    """Corners of an axial square, mm."""
    return np.array([[low, low, z], [high, low, z], [high, high, z], [low, high, z]], dtype=float)


def structure_set(regions: dict[str, Many[Polygon]], **contour_tags: Any) -> Dataset:
    """A structure set of named regions, numbered from 1."""
    dataset = Dataset()
    dataset.SOPClassUID = RTSTRUCT
    dataset.SOPInstanceUID = uid("rtstruct", *regions)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study"), uid("rtstruct series")
    dataset.Modality, dataset.PatientID, dataset.PatientName = "RTSTRUCT", "PATIENT-7", "Planted^Name"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = Sequence(), Sequence()
    for number, (name, polygons) in enumerate(regions.items(), start=1):
        roi = Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        roi.ReferencedFrameOfReferenceUID = uid("frame")
        dataset.StructureSetROISequence.append(roi)
        drawn = Dataset()
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = Sequence()
        for polygon in polygons:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(polygon)
            contour.ContourData = [float(f"{value:.4f}") for value in np.ravel(polygon)]
            for keyword, value in contour_tags.items():
                setattr(contour, keyword, value)
            drawn.ContourSequence.append(contour)
        dataset.ROIContourSequence.append(drawn)
    return dataset


def write_rtstruct(path: Path, regions: dict[str, Many[Polygon]], **contour_tags: Any) -> Path:
    """Write a made structure set."""
    return save(structure_set(regions, **contour_tags), path)
