"""NIfTI affines that are odd: row 23 of the pitfalls, see `test_pitfalls.py`."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.dicom_cases import OBLIQUE, Truth, affine_of, assert_same, outcome

# Row 23: NIfTI.


def nifti(path: Path, sform: Any, *, qform: Any = None, sform_code: int = 1, qform_code: int = 0) -> NDArray[Any]:
    import nibabel

    voxels = np.random.default_rng(3).integers(0, 100, (5, 4, 3)).astype(np.int16)
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    image.header.set_sform(sform, code=sform_code)
    image.header.set_qform(qform, code=qform_code)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, None, image.header), path)
    return voxels


FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def test_row_23_a_sheared_nifti_keeps_its_affine(tmp_path: Path) -> None:
    affine = affine_of(shear=(0, 0.8, 0))
    voxels = nifti(tmp_path / "a.nii", FLIP @ affine)
    assert_same(outcome(tmp_path, upright=False).only, Truth(voxels=voxels, affine=affine))


def test_row_23_a_left_handed_nifti_keeps_its_affine(tmp_path: Path) -> None:
    affine = affine_of() @ np.diag([-1.0, 1, 1, 1])
    voxels = nifti(tmp_path / "a.nii", FLIP @ affine)
    assert_same(outcome(tmp_path).only, Truth(voxels=voxels, affine=affine))


def test_row_23_the_sform_counts_where_both_are_set(tmp_path: Path) -> None:
    affine = affine_of()
    shifted = affine.copy()
    shifted[:3, 3] += 30
    voxels = nifti(tmp_path / "a.nii", FLIP @ affine, qform=FLIP @ shifted, qform_code=1)
    assert_same(outcome(tmp_path).only, Truth(voxels=voxels, affine=affine))


def test_row_23_the_qform_counts_where_the_sform_is_not_set(tmp_path: Path) -> None:
    affine = affine_of(orientation=OBLIQUE)
    voxels = nifti(tmp_path / "a.nii", np.eye(4), sform_code=0, qform=FLIP @ affine, qform_code=1)
    assert_same(outcome(tmp_path).only, Truth(voxels=voxels, affine=affine))


def test_row_23_a_flat_affine_is_refused(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii", FLIP @ affine_of() @ np.diag([1.0, 1, 0, 1]))
    found = outcome(tmp_path)
    assert "INCONSISTENT_GEOMETRY" in found.reasons
    assert not found.volumes


# Refusals of geometry without meaning.
