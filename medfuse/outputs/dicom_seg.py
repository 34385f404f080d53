"""Label maps as DICOM Segmentation (PS3.3 section A.51), BINARY, on the grid of the source series, through highdicom.

- Frames without a voxel are left out. A label map without any voxel is written with its middle slice alone, empty, for
  each segment: the object then says "looked for and not found", which a missing file would not.
- Segments are numbered from 1 without gaps, as the standard has it; a label map with gaps is renumbered in order.
- Patient and study attributes are carried over from the source, so that the result joins the study in an archive.
- It refers to the source instances and to nothing else; `source_grid` refuses headers that are not on the grid.
"""

import colorsys
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import medfuse
from medfuse.domain import Code, ModelIdentity, Segment, Segmentation
from medfuse.ingest.dicom.files import quiet
from medfuse.outputs.segment_codes import codes_for
from medfuse.outputs.source_grid import PlacedSources, SourceGridError, place_sources
from medfuse.outputs.source_header import carry_identity, instance_uids, templates_of
from medfuse.storage import write_file

if TYPE_CHECKING:
    from pydicom import Dataset

_SERIES_NUMBER_OFFSET = 1000
_LONG_STRING = 64
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
    if not source_datasets or not segmentation.segments:
        raise SourceGridError("a DICOM SEG needs a source image and a segment")
    with quiet():
        placed = place_sources(source_datasets, segmentation.geometry)
        uids = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid}
        templates = templates_of(
            source_datasets,
            orientation=placed.orientation.tolist(),
            measures=_pixel_measures(segmentation),
            uids=uids,
        )
        try:
            dataset = _highdicom_seg(segmentation, templates, placed.positions_mm, model, source_datasets[0])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # Not chained: the message may quote a header value.
            kind = type(error).__name__
            raise SourceGridError(f"highdicom refuses the source headers ({kind}); check them with dciodvfy") from None
        _refer_to_sources(dataset, placed, source_datasets)
        names = (model.name, *(segment.name for segment in segmentation.segments))
        carry_identity(source_datasets[0], dataset, keep_encoding=all(map(str.isascii, names)))
    return dataset


def _highdicom_seg(
    segmentation: Segmentation,
    templates: Sequence["Dataset"],
    positions_mm: NDArray[np.float64],
    model: ModelIdentity,
    source: "Dataset",
) -> "Dataset":
    import highdicom as hd
    from pydicom.uid import generate_uid

    frames = _frames(segmentation)
    if not frames.any():
        middle = len(frames) // 2
        frames, positions_mm = frames[middle : middle + 1], positions_mm[middle : middle + 1]
    patient = hd.CoordinateSystemNames.PATIENT
    dataset: Dataset = hd.seg.Segmentation(
        source_images=templates,
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=[_description(n, s, model) for n, s in enumerate(segmentation.segments, start=1)],
        series_instance_uid=generate_uid(prefix=None),
        series_number=_SERIES_NUMBER_OFFSET + max(0, int(source.get("SeriesNumber") or 0)),
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer="medfuse",
        manufacturer_model_name="medfuse",
        software_versions=medfuse.__version__,
        device_serial_number=_text(model.weights_sha256[:16], fallback="unknown"),
        content_label="MEDFUSE_SEG",
        content_description="Automatic segmentation by medfuse, for research use",
        content_creator_name="medfuse^",
        content_qualification="RESEARCH",
        series_description=_series_description(model),
        pixel_measures=_pixel_measures(segmentation),
        plane_positions=[hd.PlanePositionSequence(patient, position) for position in positions_mm.tolist()],
        specific_character_set="ISO_IR 192",
        omit_empty_frames=True,
    )
    return dataset


def _refer_to_sources(dataset: "Dataset", placed: PlacedSources, sources: Sequence["Dataset"]) -> None:
    """Let each frame refer to the source images that it lies on (PS3.3 section C.7.6.16.2.6), and to no others.

    highdicom refers to none where a slice was filled in, and to frames of another stack at the same position.
    """
    from pydicom import Dataset
    from pydicom.sr.codedict import codes as dictionary

    uids = [instance_uids(source) for source in sources]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        position = [float(mm) for mm in frame.PlanePositionSequence[0].ImagePositionPatient]
        k = int(np.argmin(np.linalg.norm(placed.positions_mm - position, axis=1)))
        images = []
        for reference in placed.references[k]:
            image = Dataset()
            image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = uids[reference.source]
            if reference.frame is not None:
                image.ReferencedFrameNumber = reference.frame
            image.PurposeOfReferenceCodeSequence = [_item(dictionary.DCM.SourceImageForImageProcessingOperation)]
            image.SpatialLocationsPreserved = "YES"
            images.append(image)
        derivation = Dataset()
        derivation.DerivationCodeSequence = [_item(dictionary.DCM.Segmentation)]
        derivation.SourceImageSequence = images
        frame.DerivationImageSequence = [derivation] if images else []


def _item(code: Any) -> "Dataset":
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _frames(segmentation: Segmentation) -> NDArray[np.uint8]:
    """The label map as frames `(K, rows, columns)`, renumbered to 1, 2, ... in the order of the segments."""
    numbers = np.zeros(256, dtype=np.uint8)
    for number, segment in enumerate(segmentation.segments, start=1):
        numbers[segment.number] = number
    return np.ascontiguousarray(numbers[segmentation.label_map].transpose(2, 1, 0))


def _description(number: int, segment: Segment, model: ModelIdentity) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes as dictionary
    from pydicom.uid import generate_uid

    codes = codes_for(segment)
    label = _text(segment.name, fallback=f"segment {number}")
    algorithm = None
    if segment.algorithm_type != "MANUAL":
        algorithm = hd.AlgorithmIdentificationSequence(
            name=_text(f"medfuse {model.name}", fallback="medfuse"),
            family=dictionary.CID7162.ArtificialIntelligence,
            version=_text(model.version, fallback="unknown"),
            source="medfuse",
            parameters={"weights_sha256": model.weights_sha256, "config_sha256": model.config_sha256},
        )
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=_coded(codes.category),
        segmented_property_type=_coded(codes.type),
        algorithm_type=segment.algorithm_type,
        algorithm_identification=algorithm,
        tracking_uid=generate_uid(prefix=None),
        tracking_id=label,
        display_color=_colour(number),
    )
    if codes.modifiers:
        modifiers = [_coded(modifier) for modifier in codes.modifiers]
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = modifiers
    return description


def _coded(code: Code) -> Any:
    import highdicom as hd

    return hd.sr.CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def _colour(number: int) -> Any:
    """A colour far from those of the numbers before it: the hue turns by the golden ratio each time."""
    import highdicom as hd

    red, green, blue = colorsys.hsv_to_rgb((number - 1) * 0.618034 % 1, 0.7, 0.95)
    return hd.color.CIELabColor.from_rgb(round(255 * red), round(255 * green), round(255 * blue))


def _pixel_measures(segmentation: Segmentation) -> Any:
    import highdicom as hd

    affine = segmentation.geometry.affine
    columns_mm, rows_mm, _ = affine.spacing_mm.tolist()
    direction = affine.direction
    normal = np.cross(direction[:, 0], direction[:, 1])
    slices_mm = abs(float(affine.matrix[:3, 2] @ normal) / float(np.linalg.norm(normal)))
    rows_mm, columns_mm, slices_mm = (round(mm, _DECIMALS_MM) for mm in (rows_mm, columns_mm, slices_mm))
    return hd.PixelMeasuresSequence([rows_mm, columns_mm], slices_mm, slices_mm)


def _series_description(model: ModelIdentity) -> str:
    before, after = "medfuse ", " (research use)"
    name = _text(model.name, fallback="model")[: _LONG_STRING - len(before) - len(after)]
    return f"{before}{name}{after}"


def _text(text: str, *, fallback: str) -> str:
    """`text` as a DICOM long string (PS3.5 section 6.2): no backslash, no control character, 64 characters at most."""
    cleaned = " ".join(re.sub(r"[\\\x00-\x1f\x7f]", " ", text).split())[:_LONG_STRING].strip()
    return cleaned or fallback
