"""Probabilities and saliency as DICOM Parametric Maps (PS3.3 section A.75), through highdicom.

A value is stored as a whole number of 16 bits, 65,535 standing for 1: exact to 0.00001, and half as large as a float.
Slices on which a map is 0 throughout are left out, as in a DICOM SEG; one of them is kept where there would be none.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Code, MapMeaning, ModelIdentity, VoxelMap
from medfuse.ingest.dicom.files import quiet
from medfuse.outputs.dicom_seg import pixel_measures
from medfuse.outputs.equipment import UTF8, coded, device, new_uid, series_description, series_number, text
from medfuse.outputs.report_codes import NO_UNITS, declare_private_codes, private_code
from medfuse.outputs.source_grid import SourceGridError, place_sources
from medfuse.outputs.source_header import carry_identity, templates_of
from medfuse.outputs.source_references import SEGMENTATION, refer_to_sources
from medfuse.storage import write_file

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_KIND = 3
FULL_SCALE = 65535
"""The stored value that stands for 1."""

_QUANTITIES = {
    MapMeaning.PROBABILITY: Code(value="110854", scheme="DCM", meaning="Fractional Probabilistic Segmentation"),
    MapMeaning.SALIENCY: Code(value="130404", scheme="DCM", meaning="Saliency"),
}
_DERIVATIONS = {MapMeaning.PROBABILITY: SEGMENTATION, MapMeaning.SALIENCY: private_code("attribution")}


def parametric_map(
    voxel_map: VoxelMap,
    source_datasets: Sequence["Dataset"],
    *,
    model: ModelIdentity,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
    instance_number: int = 1,
    result_series_uid: str | None = None,
) -> "Dataset":
    """Build the parametric map of one segment or finding.

    Args:
        voxel_map: On the grid of the source series.
        source_datasets: Headers of the series, pixels not needed.
        model: Who made it.
        study_instance_uid: For source headers that lack it.
        series_instance_uid: The source series' UID, for source headers that lack it.
        instance_number: Among the maps of its series, from 1.
        result_series_uid: The new series' UID; made when left out.

    Raises:
        SourceGridError: The source headers cannot carry the map.
    """
    if not source_datasets:
        raise SourceGridError("a parametric map needs a source image")
    with quiet():
        placed = place_sources(source_datasets, voxel_map.geometry)
        uids = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid}
        measures = pixel_measures(voxel_map.geometry.affine)
        orientation = placed.orientation.tolist()
        templates = templates_of(source_datasets, orientation=orientation, measures=measures, uids=uids)
        frames, kept = _frames(voxel_map)
        try:
            dataset = _highdicom_map(
                frames,
                placed.positions_mm[kept],
                templates,
                voxel_map,
                pixel_measures=measures,
                series_instance_uid=result_series_uid or new_uid(),
                series_number=series_number(source_datasets[0], SERIES_KIND),
                instance_number=instance_number,
                series_description=series_description(model, "maps"),
                **device(model),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # Not chained: the message may quote a header value.
            kind = type(error).__name__
            raise SourceGridError(f"highdicom refuses the source headers ({kind}); check them with dciodvfy") from None
        refer_to_sources(dataset, placed, source_datasets, _DERIVATIONS[voxel_map.meaning])
        dataset.Laterality = None
        declare_private_codes(dataset)
        names = (model.name, voxel_map.name)
        carry_identity(source_datasets[0], dataset, keep_encoding=all(map(str.isascii, names)))
    return dataset


def write_parametric_map(
    voxel_map: VoxelMap,
    source_datasets: Sequence["Dataset"],
    path: Path,
    *,
    model: ModelIdentity,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
) -> None:
    """Write what `parametric_map` builds, whole or not at all.

    Raises:
        SourceGridError: The source headers cannot carry the map.
        StorageError: The file could not be written.
    """
    dataset = parametric_map(
        voxel_map,
        source_datasets,
        model=model,
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
    )
    write_file(path, lambda aside: dataset.save_as(aside, enforce_file_format=True))


def _frames(voxel_map: VoxelMap) -> tuple[NDArray[np.uint16], NDArray[np.intp]]:
    """The stored values `(K, rows, columns)` of the slices that hold something, and which slices these are."""
    stored = np.empty(voxel_map.values.shape[::-1], dtype=np.uint16)
    for k in range(len(stored)):
        stored[k] = np.rint(voxel_map.values[:, :, k].T.astype(np.float32) * FULL_SCALE)
    kept = np.flatnonzero(stored.any(axis=(1, 2)))
    if not len(kept):
        kept = np.array([len(stored) // 2])
    return np.ascontiguousarray(stored[kept]), kept


def _highdicom_map(
    frames: NDArray[np.uint16],
    positions_mm: NDArray[np.float64],
    templates: Sequence["Dataset"],
    voxel_map: VoxelMap,
    **options: Any,
) -> "Dataset":
    import highdicom as hd

    patient = hd.CoordinateSystemNames.PATIENT
    name = text(voxel_map.name, fallback="map")
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=voxel_map.meaning.value,
        lut_explanation=name,
        unit=coded(NO_UNITS),
        value_range=(0, FULL_SCALE),
        slope=1 / FULL_SCALE,
        intercept=0,
        quantity_definition=coded(_QUANTITIES[voxel_map.meaning]),
    )
    dataset: Dataset = hd.pm.ParametricMap(
        source_images=templates,
        pixel_array=frames,
        sop_instance_uid=new_uid(),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            hd.VOILUTTransformation(window_center=FULL_SCALE / 2, window_width=FULL_SCALE, window_explanation="0 to 1")
        ],
        content_description=f"{voxel_map.meaning.value.lower()} of {name}"[:64],
        content_label=f"MEDFUSE_{voxel_map.meaning.value}"[:16],
        content_creator_name="medfuse^",
        content_qualification="RESEARCH",
        image_flavor="VOLUME",
        derived_pixel_contrast="QUANTITY",
        plane_positions=[hd.PlanePositionSequence(patient, position) for position in positions_mm.tolist()],
        specific_character_set=UTF8,
        **options,
    )
    return dataset
