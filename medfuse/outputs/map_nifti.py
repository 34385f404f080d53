"""Maps of numbers as NIfTI; RAS exists here, at the door, as for label maps."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import VolumeGeometry

_DESCRIPTION_LENGTH = 79


def save_map(values: NDArray[np.float32], geometry: VolumeGeometry, path: Path, name: str) -> None:
    """Save a map as float32 NIfTI-1 right away; for callers that see to wholeness themselves.

    Args:
        values: Shape `(I, J, K)`, that of the geometry.
        geometry: Where the voxels are, LPS mm.
        path: Ends with `.nii` or `.nii.gz`.
        name: What it shows; stands in the header as far as its 79 characters go.

    Raises:
        ValueError: The shapes differ.
        OSError: It could not be written.
    """
    import nibabel as nib

    if values.shape != geometry.shape:
        raise ValueError(f"the map {values.shape} does not fill the grid {geometry.shape}")
    affine_ras = geometry.affine.to_ras()
    make_image: Any = nib.Nifti1Image
    image = make_image(np.asarray(values, dtype=np.float32), affine_ras)
    image.set_sform(affine_ras, code="scanner")
    if geometry.affine.is_orthogonal:
        image.set_qform(affine_ras, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"research use; {name}".encode("ascii", "replace")[:_DESCRIPTION_LENGTH]
    nib.save(image, path)
