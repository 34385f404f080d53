"""Which source images each frame of a result lies on, written into its functional groups."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medfuse.domain import Code
from medfuse.outputs.source_grid import PlacedSources
from medfuse.outputs.source_header import instance_uids

if TYPE_CHECKING:
    from pydicom import Dataset

SEGMENTATION = Code(value="113076", scheme="DCM", meaning="Segmentation")
SOURCE_IMAGE = Code(value="121322", scheme="DCM", meaning="Source image for image processing operation")


def refer_to_sources(
    dataset: "Dataset", placed: PlacedSources, sources: Sequence["Dataset"], derivation: Code = SEGMENTATION
) -> None:
    """Let each frame refer to the source images that it lies on (PS3.3 section C.7.6.16.2.6), and to no others.

    highdicom refers to none where a slice was filled in, and to frames of another stack at the same position.

    Args:
        dataset: A multi-frame result; its functional groups are changed.
        placed: Where its slices are.
        sources: The headers that `placed` counts.
        derivation: How the frames were made of the images (PS3.16 CID 7203).
    """
    from pydicom import Dataset

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
            image.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
            image.SpatialLocationsPreserved = "YES"
            images.append(image)
        derived = Dataset()
        derived.DerivationCodeSequence = [code_item(derivation)]
        derived.SourceImageSequence = images
        frame.DerivationImageSequence = [derived] if images else []


def code_item(code: Code) -> "Dataset":
    """A code as an item of a sequence (PS3.3 section 8.8)."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item
