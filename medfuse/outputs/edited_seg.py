"""A segmentation that a person corrected or drew, as a new DICOM SEG.

The object is never the old one changed: it has UIDs of its own, names its creator, and refers to its predecessor. Each
segment says how it came about (Segment Algorithm Type): AUTOMATIC where its voxels are still the predecessor's,
SEMIAUTOMATIC where a person changed what an algorithm drew, MANUAL where no algorithm is known. A segment keeps the
Tracking UID of the predecessor's segment of that name: it is the same structure.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import ModelIdentity, Segment, Segmentation
from medfuse.ingest.dicom.files import quiet
from medfuse.outputs.dicom_seg import Authorship, authored_seg
from medfuse.outputs.equipment import MAKER, algorithm, person_name, text
from medfuse.outputs.source_grid import POSITION_TOLERANCE
from medfuse.outputs.source_references import SOURCE_IMAGE, code_item
from medfuse.storage import write_file

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_DESCRIPTION = "medfuse, edited by a reader (research use)"


def edited_segmentation(
    segmentation: Segmentation,
    source_datasets: Sequence["Dataset"],
    *,
    reviewer: str,
    predecessor: "Dataset | None" = None,
    model: ModelIdentity | None = None,
    description: str = "",
) -> "Dataset":
    """Build the DICOM SEG of a segmentation that a person corrected or drew.

    Args:
        segmentation: Label map on the grid of the source series. The algorithm type of a segment is what is claimed of
            it; AUTOMATIC stands only where its voxels are the predecessor's.
        source_datasets: Headers of the series, pixels not needed.
        reviewer: Who corrected or drew it, as that person signs.
        predecessor: The DICOM SEG that was corrected, with its pixels.
        model: Who drew the predecessor, if it was a model of medfuse.
        description: What was done, in the reader's words; 64 characters of it are kept.

    Raises:
        SourceGridError: The source headers cannot carry the label map.
        ValueError: No reviewer is named.
    """
    if not reviewer.strip():
        raise ValueError("an edited segmentation names who edited it")
    before = {} if predecessor is None else _segments_of(predecessor)
    algorithms = {name: _algorithm(item) for name, item in before.items() if _is_drawn_by_algorithm(item)}
    if model is not None:
        algorithms |= {segment.name: algorithm(model) for segment in segmentation.segments}
    unchanged = set() if predecessor is None else _unchanged(segmentation, predecessor)
    segments = tuple(
        dataclasses.replace(segment, algorithm_type=_type_of(segment, segment.name in algorithms, unchanged))
        for segment in segmentation.segments
    )
    author = Authorship(
        creator=person_name(reviewer),
        description=text(description, fallback="Segmentation edited by a reader, for research use"),
        series_description=SERIES_DESCRIPTION,
        model=model,
        algorithms=algorithms,
        tracking_uids={name: str(item.TrackingUID) for name, item in before.items() if item.get("TrackingUID")},
    )
    edited = dataclasses.replace(segmentation, segments=segments)
    study = None if predecessor is None else str(predecessor.StudyInstanceUID)
    series = None if predecessor is None else _source_series_uid(predecessor)
    dataset = authored_seg(edited, source_datasets, author, {"StudyInstanceUID": study, "SeriesInstanceUID": series})
    if predecessor is not None:
        _refer_to_predecessor(dataset, predecessor)
    return dataset


def write_edited_segmentation(
    segmentation: Segmentation,
    source_datasets: Sequence["Dataset"],
    path: Path,
    *,
    reviewer: str,
    predecessor: Path | None = None,
    model: ModelIdentity | None = None,
    description: str = "",
) -> None:
    """Write what `edited_segmentation` builds, whole or not at all.

    Args:
        segmentation: As there.
        source_datasets: As there.
        path: Where the file goes.
        reviewer: As there.
        predecessor: File of the DICOM SEG that was corrected; passed over when it is not there.
        model: As there.
        description: As there.

    Raises:
        SourceGridError: The source headers cannot carry the label map.
        StorageError: The file could not be written.
    """
    dataset = edited_segmentation(
        segmentation,
        source_datasets,
        reviewer=reviewer,
        predecessor=read_dicom(predecessor),
        model=model,
        description=description,
    )
    write_dicom(dataset, path)


def read_dicom(path: Path | None) -> "Dataset | None":
    """A DICOM object of medfuse's own with everything in it; None where there is no file."""
    import pydicom

    if path is None or not path.is_file():
        return None
    with quiet():
        return pydicom.dcmread(path)


def write_dicom(dataset: "Dataset", path: Path) -> None:
    """Write a DICOM object, whole or not at all.

    Raises:
        StorageError: It could not be written.
    """
    write_file(path, lambda aside: dataset.save_as(aside, enforce_file_format=True))


def _segments_of(predecessor: "Dataset") -> dict[str, "Dataset"]:
    return {str(item.SegmentLabel): item for item in predecessor.SegmentSequence}


def _is_drawn_by_algorithm(item: "Dataset") -> bool:
    return str(item.get("SegmentAlgorithmType") or "") in {"AUTOMATIC", "SEMIAUTOMATIC"}


def _algorithm(item: "Dataset") -> Any:
    """The algorithm that a predecessor's segment names."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    if said := item.get("SegmentationAlgorithmIdentificationSequence"):
        return hd.AlgorithmIdentificationSequence.from_sequence(said)
    return hd.AlgorithmIdentificationSequence(
        name=text(str(item.get("SegmentAlgorithmName") or ""), fallback="unknown"),
        family=codes.CID7162.ArtificialIntelligence,
        version="unknown",
    )


def _type_of(segment: Segment, has_algorithm: bool, unchanged: set[str]) -> Any:
    if segment.algorithm_type == "MANUAL" or not has_algorithm:
        return "MANUAL"
    return segment.algorithm_type if segment.name in unchanged else "SEMIAUTOMATIC"


def _unchanged(segmentation: Segmentation, predecessor: "Dataset") -> set[str]:
    """Names of the segments whose voxels are exactly those of the predecessor's segment of the same name."""
    planes = _planes_of(predecessor, segmentation)
    if planes is None:
        return set()
    numbers = {str(item.SegmentLabel): int(item.SegmentNumber) for item in predecessor.SegmentSequence}
    same = set()
    for segment in segmentation.segments:
        if segment.name not in numbers:
            continue
        mask = segmentation.mask(segment)
        mine = {k: plane for (number, k), plane in planes.items() if number == numbers[segment.name] and plane.any()}
        if set(np.flatnonzero(mask.any(axis=(0, 1)))) == set(mine) and all(
            np.array_equal(mask[:, :, k], plane) for k, plane in mine.items()
        ):
            same.add(segment.name)
    return same


def _planes_of(predecessor: "Dataset", segmentation: Segmentation) -> dict[tuple[int, int], NDArray[np.bool_]] | None:
    """Segment number and slice of the grid -> mask `(I, J)`; None where the predecessor is no BINARY on this grid."""
    geometry = segmentation.geometry
    size = (int(predecessor.Columns), int(predecessor.Rows))
    if predecessor.SegmentationType != "BINARY" or size != geometry.shape[:2]:
        return None
    positions_mm = geometry.affine.apply([(0, 0, k) for k in range(geometry.shape[2])])
    tolerance_mm = POSITION_TOLERANCE * float(geometry.affine.spacing_mm.min())
    pixels = predecessor.pixel_array.reshape(-1, size[1], size[0])
    planes: dict[tuple[int, int], NDArray[np.bool_]] = {}
    for frame, group in zip(pixels, predecessor.PerFrameFunctionalGroupsSequence, strict=True):
        position = [float(mm) for mm in group.PlanePositionSequence[0].ImagePositionPatient]
        distances = np.linalg.norm(positions_mm - position, axis=1)
        k = int(np.argmin(distances))
        if distances[k] > tolerance_mm:
            return None
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        planes[number, k] = np.asarray(frame.T, dtype=bool)
    return planes


def _source_series_uid(predecessor: "Dataset") -> str | None:
    series = predecessor.get("ReferencedSeriesSequence")
    return str(series[0].SeriesInstanceUID) if series else None


def _refer_to_predecessor(dataset: "Dataset", predecessor: "Dataset") -> None:
    """Name the object that was corrected (PS3.3 sections C.7.6.16.2.6 and C.12.2); SEG has no other place for it."""
    from pydicom import Dataset

    source, listed, series = Dataset(), Dataset(), Dataset()
    for item in (source, listed):
        item.ReferencedSOPClassUID = predecessor.SOPClassUID
        item.ReferencedSOPInstanceUID = predecessor.SOPInstanceUID
    source.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    dataset.SourceImageSequence = [source, *(dataset.get("SourceImageSequence") or ())]
    series.SeriesInstanceUID = predecessor.SeriesInstanceUID
    series.ReferencedInstanceSequence = [listed]
    dataset.ReferencedSeriesSequence.append(series)
    dataset.ContributingEquipmentSequence = [_maker_of(predecessor)]


def _maker_of(predecessor: "Dataset") -> "Dataset":
    """What made the predecessor, as equipment that contributed (PS3.3 section C.12.1)."""
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    item, purpose = Dataset(), codes.DCM.ProcessingEquipment
    item.Manufacturer = predecessor.get("Manufacturer") or MAKER
    for keyword in ("ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber"):
        if predecessor.get(keyword):
            setattr(item, keyword, predecessor[keyword].value)
    concept = Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator = purpose.value, purpose.scheme_designator
    concept.CodeMeaning = purpose.meaning
    item.PurposeOfReferenceCodeSequence = [concept]
    return item
