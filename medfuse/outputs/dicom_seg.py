"""Label maps as DICOM Segmentation (PS3.3 section A.51), BINARY, on the grid of the source series, through highdicom.

- Frames without a voxel are left out. A label map without any voxel is written with its middle slice alone, empty, for
  each segment: the object then says "looked for and not found", which a missing file would not.
- Segments may overlap: BINARY holds a mask each.
- Segments are numbered from 1 without gaps, as the standard has it; a label map with gaps is renumbered in order.
- Patient and study attributes are carried over from the source, so that the result joins the study in an archive.
- It refers to the source instances and to nothing else; `source_grid` refuses headers that are not on the grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Affine, ModelIdentity, Segment, Segmentation
from medfuse.ingest.dicom.files import quiet
from medfuse.outputs.colours import rgb_of
from medfuse.outputs.equipment import (
    MAKER,
    UTF8,
    algorithm,
    coded,
    device,
    new_uid,
    series_description,
    series_number,
    text,
)
from medfuse.outputs.segment_codes import codes_for
from medfuse.outputs.source_grid import SourceGridError, place_sources
from medfuse.outputs.source_header import carry_identity, templates_of
from medfuse.outputs.source_references import refer_to_sources
from medfuse.storage import write_file

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_KIND = 1
_DECIMALS_MM = 8


def write_dicom_seg(
    segmentation: Segmentation,
    source_datasets: Sequence["Dataset"],
    path: Path,
    *,
    model: ModelIdentity,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
) -> None:
    """Write a label map as DICOM SEG, whole or not at all.

    Args:
        segmentation: Label map on the grid of the source series.
        source_datasets: Headers of the series, pixels not needed: classic images in any order, or one enhanced image.
        path: Where the file goes.
        model: Who drew it.
        study_instance_uid: For source headers that lack it.
        series_instance_uid: The source series' UID, for source headers that lack it.

    Raises:
        SourceGridError: The source headers cannot carry the label map; reason `NO_DICOM_SEG`.
        StorageError: The file could not be written.
    """
    dataset = dicom_seg(
        segmentation,
        source_datasets,
        model=model,
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
    )
    write_file(path, lambda aside: dataset.save_as(aside, enforce_file_format=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorship:
    """Who made a segmentation, and from what.

    Args:
        creator: Content Creator's Name (0070,0084).
        description: Content Description (0070,0081).
        series_description: Of the new series.
        model: Whose device attributes it carries; None for none.
        algorithms: Segment name -> its algorithm identification, for segments that are not MANUAL.
        tracking_uids: Segment name -> Tracking UID, for segments that an earlier object held.
    """

    creator: str
    description: str
    series_description: str
    model: ModelIdentity | None = None
    algorithms: Mapping[str, Any] = field(default_factory=dict)
    tracking_uids: Mapping[str, str] = field(default_factory=dict)


def dicom_seg(
    segmentation: Segmentation,
    source_datasets: Sequence["Dataset"],
    *,
    model: ModelIdentity,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
) -> "Dataset":
    """Build the DICOM SEG that `write_dicom_seg` writes.

    Raises:
        SourceGridError: The source headers cannot carry the label map.
    """
    said = algorithm(model)
    author = Authorship(
        creator=f"{MAKER}^",
        description="Automatic segmentation by medfuse, for research use",
        series_description=series_description(model),
        model=model,
        algorithms={segment.name: said for segment in segmentation.segments},
    )
    uids = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid}
    return authored_seg(segmentation, source_datasets, author, uids)


def authored_seg(
    segmentation: Segmentation,
    source_datasets: Sequence["Dataset"],
    author: Authorship,
    uids: Mapping[str, str | None],
) -> "Dataset":
    """Build a DICOM SEG that says who made it.

    Args:
        segmentation: Label map on the grid of the source series.
        source_datasets: Headers of the series, pixels not needed.
        author: Who made it.
        uids: `StudyInstanceUID` and `SeriesInstanceUID`, for source headers that lack them.

    Raises:
        SourceGridError: The source headers cannot carry the label map.
    """
    if not source_datasets or not segmentation.segments:
        raise SourceGridError("a DICOM SEG needs a source image and a segment")
    with quiet():
        placed = place_sources(source_datasets, segmentation.geometry)
        templates = templates_of(
            source_datasets,
            orientation=placed.orientation.tolist(),
            measures=pixel_measures(segmentation.geometry.affine),
            uids=uids,
        )
        try:
            dataset = _highdicom_seg(segmentation, templates, placed.positions_mm, author, source_datasets[0])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # Not chained: the message may quote a header value.
            kind = type(error).__name__
            raise SourceGridError(f"highdicom refuses the source headers ({kind}); check them with dciodvfy") from None
        refer_to_sources(dataset, placed, source_datasets)
        names = [segment.name for segment in segmentation.segments]
        said = (author.creator, author.description, author.series_description, *names)
        carry_identity(source_datasets[0], dataset, keep_encoding=all(map(str.isascii, said)))
    return dataset


def _highdicom_seg(
    segmentation: Segmentation,
    templates: Sequence["Dataset"],
    positions_mm: NDArray[np.float64],
    author: Authorship,
    source: "Dataset",
) -> "Dataset":
    import highdicom as hd

    kept = _slices_with_voxels(segmentation)
    frames, positions_mm = _frames(segmentation, kept), positions_mm[kept]
    patient = hd.CoordinateSystemNames.PATIENT
    dataset: Dataset = hd.seg.Segmentation(
        source_images=templates,
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=[_description(n, s, author) for n, s in enumerate(segmentation.segments, start=1)],
        series_instance_uid=new_uid(),
        series_number=series_number(source, SERIES_KIND),
        sop_instance_uid=new_uid(),
        instance_number=1,
        **device(author.model),
        content_label="MEDFUSE_SEG",
        content_description=author.description,
        content_creator_name=author.creator,
        content_qualification="RESEARCH",
        series_description=author.series_description,
        pixel_measures=pixel_measures(segmentation.geometry.affine),
        plane_positions=[hd.PlanePositionSequence(patient, position) for position in positions_mm.tolist()],
        specific_character_set=UTF8,
        omit_empty_frames=True,
    )
    return dataset


def _slices_with_voxels(segmentation: Segmentation) -> NDArray[np.intp]:
    """The slices that hold a voxel; the middle one where none does."""
    kept = np.flatnonzero(segmentation.label_map.any(axis=(0, 1)))
    return kept if len(kept) else np.array([segmentation.label_map.shape[2] // 2])


def _frames(segmentation: Segmentation, kept: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Some slices of the label map as frames `(N, rows, columns)`, renumbered to 1, 2, ... in the segments' order.

    Where segments overlap there is a mask each: `(N, rows, columns, segments)`.
    """
    if segmentation.overlaps is not None:
        bits = np.array([segment.number - 1 for segment in segmentation.segments], dtype=np.uint8)
        frames = segmentation.overlaps.T[kept]
        return np.ascontiguousarray((frames[..., None] >> bits) & 1)
    frames = np.ascontiguousarray(segmentation.label_map.T[kept])
    given = [segment.number for segment in segmentation.segments]
    if given == list(range(1, len(given) + 1)):
        return frames
    numbers = np.zeros(256, dtype=np.uint8)
    numbers[given] = np.arange(1, len(given) + 1)
    return np.asarray(numbers[frames])


def _description(number: int, segment: Segment, author: Authorship) -> Any:
    import highdicom as hd

    codes = codes_for(segment)
    label = text(segment.name, fallback=f"segment {number}")
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=coded(codes.category),
        segmented_property_type=coded(codes.type),
        algorithm_type=segment.algorithm_type,
        algorithm_identification=None if segment.algorithm_type == "MANUAL" else author.algorithms[segment.name],
        tracking_uid=author.tracking_uids.get(segment.name) or new_uid(),
        tracking_id=label,
        display_color=hd.color.CIELabColor.from_rgb(*rgb_of(number)),
    )
    if codes.modifiers:
        modifiers = [coded(modifier) for modifier in codes.modifiers]
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = modifiers
    return description


def pixel_measures(affine: Affine) -> Any:
    """Pixel spacing, and the distance of slices along their normal, of a grid (PS3.3 section C.7.6.16.2.1)."""
    import highdicom as hd

    columns_mm, rows_mm, _ = affine.spacing_mm.tolist()
    direction = affine.direction
    normal = np.cross(direction[:, 0], direction[:, 1])
    slices_mm = abs(float(affine.matrix[:3, 2] @ normal) / float(np.linalg.norm(normal)))
    rows_mm, columns_mm, slices_mm = (round(mm, _DECIMALS_MM) for mm in (rows_mm, columns_mm, slices_mm))
    return hd.PixelMeasuresSequence([rows_mm, columns_mm], slices_mm, slices_mm)
