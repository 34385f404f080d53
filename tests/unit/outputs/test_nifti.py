"""segmentation.nii.gz, read by nibabel and SimpleITK."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from medfuse.domain import Affine, Segment, Segmentation, VolumeGeometry
from medfuse.errors import StorageError
from medfuse.outputs import write_nifti
from tests.unit.outputs import cases


@pytest.mark.parametrize("direction", [cases.AXIAL, cases.SAGITTAL, cases.FLIPPED, cases.oblique()])
def test_voxels_and_place_come_back(tmp_path: Path, direction: NDArray[np.float64]) -> None:
    segmentation = cases.label_map(cases.grid(direction))
    write_nifti(segmentation, tmp_path / "a.nii.gz")
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(image.dataobj), segmentation.label_map)
    assert Affine.from_ras(image.affine).is_close(segmentation.geometry.affine, 1e-4)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)


def test_itk_puts_it_at_the_same_place(tmp_path: Path) -> None:
    segmentation = cases.label_map(cases.grid(cases.oblique()))
    write_nifti(segmentation, tmp_path / "a.nii.gz")
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    np.testing.assert_allclose(
        image.TransformContinuousIndexToPhysicalPoint((2, 3, 4)),
        segmentation.geometry.affine.apply((2, 3, 4)),
        atol=1e-4,
    )


def test_a_sheared_grid_keeps_its_shear(tmp_path: Path) -> None:
    matrix = np.eye(4)
    matrix[1, 2] = 0.3
    geometry = VolumeGeometry(shape=(4, 4, 4), affine=Affine(matrix))
    write_nifti(cases.label_map(geometry), tmp_path / "a.nii")
    image = nib.load(tmp_path / "a.nii")
    assert Affine.from_ras(image.affine).is_close(geometry.affine)
    assert int(image.header["qform_code"]) == 0


def test_the_header_names_the_segments_as_far_as_it_can(tmp_path: Path) -> None:
    write_nifti(cases.label_map(cases.grid()), tmp_path / "a.nii.gz")
    header = nib.load(tmp_path / "a.nii.gz").header
    assert bytes(header["descrip"]).startswith(b"research use; 1 anterior hippocampus, 2 posterior hippocampus")
    assert header.get_intent()[0] == "label"
    assert header.get_xyzt_units()[0] == "mm"
    long = tuple(Segment(number=n, name=f"größe {n}") for n in range(1, 40))
    many = Segmentation(label_map=np.zeros((2, 2, 2), np.uint8), geometry=cases.grid(shape=(2, 2, 2)), segments=long)
    write_nifti(many, tmp_path / "b.nii.gz")
    assert len(bytes(nib.load(tmp_path / "b.nii.gz").header["descrip"])) <= 80


def test_the_same_label_map_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(cases.label_map(cases.grid()), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError):
        write_nifti(cases.label_map(cases.grid()), tmp_path / "out" / "a.nii.gz")
