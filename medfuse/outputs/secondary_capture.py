"""Key slices as DICOM Secondary Capture, for archives and viewers that show nothing else; through highdicom.

Each image refers to the source image that it shows. It holds no position in space: its pixels are a picture. They name
no patient (Burned In Annotation is NO); the header carries the identity, so that the picture joins its study.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medfuse.domain import ModelIdentity, Segmentation
from medfuse.ingest.dicom.files import quiet
from medfuse.outputs.equipment import UTF8, device, new_uid, series_description, series_number, text
from medfuse.outputs.json import RESEARCH_USE
from medfuse.outputs.key_slices import KeySlice
from medfuse.outputs.source_grid import PlacedSources, SourceGridError, place_sources
from medfuse.outputs.source_header import carry_identity, instance_uids, is_ascii, study_uid_of
from medfuse.outputs.source_references import SOURCE_IMAGE, code_item

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_KIND = 4
_COMMENT_LENGTH = 1024
_LETTERS = {"S": "H", "I": "F"}
"""DICOM's words for superior and inferior (PS3.3 section C.7.6.1.1.1)."""


def secondary_captures(
    slices: Sequence[KeySlice],
    segmentation: Segmentation,
    source_datasets: Sequence["Dataset"],
    *,
    model: ModelIdentity,
    study_instance_uid: str | None = None,
) -> list["Dataset"]:
    """Build one image a key slice, all of one new series.

    Args:
        slices: The pictures.
        segmentation: The label map that they show, for where its slices lie.
        source_datasets: Headers of the source series, pixels not needed.
        model: Who drew it.
        study_instance_uid: For source headers that lack it.

    Raises:
        SourceGridError: The source headers cannot carry them.
    """
    if not source_datasets:
        raise SourceGridError("there are no DICOM images that a picture could refer to")
    with quiet():
        placed = place_sources(source_datasets, segmentation.geometry)
        letters = segmentation.geometry.affine.orientation
        common = {
            "study_instance_uid": study_uid_of(source_datasets[0], study_instance_uid),
            "series_instance_uid": new_uid(),
            "patient_orientation": tuple(_LETTERS.get(letter, letter) for letter in letters[:2]),
        }
        return [
            _image(one, number, placed, source_datasets, model, **common) for number, one in enumerate(slices, start=1)
        ]


def _image(
    one: KeySlice,
    number: int,
    placed: PlacedSources,
    sources: Sequence["Dataset"],
    model: ModelIdentity,
    **common: Any,
) -> "Dataset":
    import highdicom as hd

    image: Dataset = hd.sc.SCImage(
        pixel_array=one.pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_number=series_number(sources[0], SERIES_KIND),
        sop_instance_uid=new_uid(),
        instance_number=number,
        series_description=series_description(model, "key slices"),
        specific_character_set=UTF8,
        **device(model),
        **common,
    )
    image.ConversionType = "SYN"  # highdicom's DI would be a screen that was grabbed
    image.Laterality = None
    image.BurnedInAnnotation = "NO"
    image.ImageComments = f"{text(one.segment.name, fallback='segment')}. {RESEARCH_USE}"[:_COMMENT_LENGTH]
    image.SourceImageSequence = _references(one.k, placed, sources)
    carry_identity(sources[0], image, keep_encoding=is_ascii(image))
    return image


def _references(k: int, placed: PlacedSources, sources: Sequence["Dataset"]) -> list["Dataset"]:
    from pydicom import Dataset

    items = []
    for reference in placed.references[k]:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance_uids(sources[reference.source])
        if reference.frame is not None:
            item.ReferencedFrameNumber = reference.frame
        item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
        items.append(item)
    return items
