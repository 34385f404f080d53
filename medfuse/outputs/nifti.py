"""Label maps as NIfTI: RAS exists here, at the door, and nowhere else.

The voxels keep the order of the source grid; only the affine is turned from LPS to RAS. The header says in words which
number is which segment as far as its 79 characters go; `prediction.json` holds the full list.
"""

from pathlib import Path
from typing import Any

from medfuse.domain import Segmentation
from medfuse.storage import write_file

_DESCRIPTION_LENGTH = 79


def write_nifti(segmentation: Segmentation, path: Path) -> None:
    """Write a label map as `uint8` NIfTI-1, whole or not at all.

    Args:
        segmentation: Label map, shape `(I, J, K)`, on a grid in LPS mm.
        path: Ends with `.nii` or `.nii.gz`.

    Raises:
        StorageError: It could not be written.
    """
    write_file(path, lambda aside: save_nifti(segmentation, aside))


def save_nifti(segmentation: Segmentation, path: Path) -> None:
    """Save a label map under `path` right away; for callers that see to wholeness themselves.

    The qform holds no shear (NIfTI-1 header, method 2), so a sheared grid gets an sform alone.

    Raises:
        OSError: It could not be written.
    """
    import nibabel as nib

    affine_ras = segmentation.geometry.affine.to_ras()
    make_image: Any = nib.Nifti1Image
    image = make_image(segmentation.label_map, affine_ras)
    image.set_sform(affine_ras, code="scanner")
    if segmentation.geometry.affine.is_orthogonal:
        image.set_qform(affine_ras, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header.set_intent("label", name="medfuse")
    image.header["descrip"] = _description(segmentation)
    nib.save(image, path)


def _description(segmentation: Segmentation) -> bytes:
    names = ", ".join(f"{segment.number} {segment.name}" for segment in segmentation.segments)
    return f"research use; {names}".encode("ascii", "replace")[:_DESCRIPTION_LENGTH]
