"""Real scanner files against what dcm2niix and dicom2nifti made of them: the same voxels at the same places.

Volumes are compared in world space, turned to the nearest axes by permuting and flipping alone. A reference of four
axes must match one part of our series a volume, and no part of ours may be left over.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from medfuse.domain import Quantity, Volume
from medfuse.ingest import source_datasets
from tests.dicom_cases import Outcome, differs, outcome

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

DICOM_OF = {
    "enhanced/Ref/Philips_WIP_B0_NS_801_e1.nii": "enhanced/In/Philips",
    "enhanced/Ref/Philips_WIP_B0_NS_801_e2_fieldmaphz.nii": "enhanced/In/Philips",
    "enhanced/Ref/Siemens_REST1_w_SMS_PF7-8_6.nii": "enhanced/In/Siemens",
    "nih/Ref/DCM2NIIX_regression_test_4.nii": "nih/In/20180918GE/mr_0004",
    "nih/Ref/EPI_PE=AP_3.nii": "nih/In/20180918Si/mr_0003",
    "nih/Ref/EPI_PE=PA_4.nii": "nih/In/20180918Si/mr_0004",
    "nih/Ref/EPI_PE=RL_5.nii": "nih/In/20180918Si/mr_0005",
    "nih/Ref/EPI_PE=LR_6.nii": "nih/In/20180918Si/mr_0006",
}
"""References of dcm2niix; those of dicom2nifti lie beside their folder."""

WITHOUT_DICOM = {f"nih/Ref/DCM2NIIX_regression_test_{number}.nii" for number in (5, 6, 7)}
"""References whose DICOM files are not part of the set."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One NIfTI file: its volumes, and its affine in LPS."""

    volumes: tuple[NDArray[np.float64], ...]
    affine: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> "Reference":
        image = nibabel.load(path)
        values = np.asarray(image.dataobj, dtype=np.float64)
        values = values.reshape(*values.shape[:3], -1)
        return cls(volumes=tuple(np.moveaxis(values, -1, 0)), affine=LPS_FROM_RAS @ image.affine)


def references(root: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name, NIfTI file and DICOM folder of each reference."""
    for path in sorted(root.rglob("*.nii*")):
        name = path.relative_to(root).as_posix()
        if path.name.endswith("_ground_truth.nii.gz"):
            yield name, path, path.with_name(path.name.removesuffix("_ground_truth.nii.gz"))
        elif name not in WITHOUT_DICOM:
            yield name, path, root / DICOM_OF[name]


def unmatched(found: Outcome, reference: Reference) -> tuple[list[int], list[str]]:
    """Volumes of the reference that no volume of ours equals, and those of ours that equal none."""
    ours = dict(found.volumes)
    missing = []
    for number, voxels in enumerate(reference.volumes):
        key = next((key for key, volume in ours.items() if not difference(volume, voxels, reference.affine)), None)
        if key is None:
            missing.append(number)
        else:
            del ours[key]
    return missing, sorted(ours)


def difference(
    volume: Volume, voxels: NDArray[np.float64], affine: NDArray[np.float64], *, relative: float = 1e-6
) -> str:
    atol = relative * max(1.0, float(np.abs(voxels).max()))
    return differs(volume.voxels, volume.geometry.affine.matrix, voxels, affine, atol=atol)


PRECISE = {
    "enhanced/Ref/Philips_WIP_B0_NS_801_e1.nii": "M",
    "enhanced/Ref/Philips_WIP_B0_NS_801_e2_fieldmaphz.nii": "B0",
}
"""References in the floating point values of Philips: ours / (Rescale Slope x private Scale Slope), both constant.

dcm2niix rounds the slope of the second to a multiple of 2^-16 (0.2442017 in place of 0.2442002, which the file's own
Real World Value Slope confirms): 6e-6 of the value, which these comparisons allow."""

REVERSED_MOSAICS = {
    "dicom2nifti/siemens/dti/001_ground_truth.nii.gz",
    "dicom2nifti/siemens/fmri/001_ground_truth.nii.gz",
}
"""dicom2nifti turned the order of the slices and left the origin at the slice that had been first: every slice but that
one lies outside of what the scanner's own protocol (in the CSA header) says was planned. dcm2niix finds no number of
slices in these files and makes no volume."""

EMPTIED = "dicom2nifti/philips_enhanced/dti/001_ground_truth.nii.gz"
"""All volumes of the reference but the first are zero, though the file has pixels there; the first is b = 1300."""

COLOUR = "dicom2nifti/generic/rgb/001_ground_truth.nii.gz"
"""Secondary captures in colour, which become no volume."""

EXPLAINED = {*PRECISE, *REVERSED_MOSAICS, EMPTIED, COLOUR}


@pytest.fixture(scope="module")
def oracle(shared_data: Path) -> Path:
    return shared_data / "dicom-oracle"


def named(oracle: Path, name: str) -> tuple[Reference, Outcome, Path]:
    (found,) = [(path, folder) for one, path, folder in references(oracle) if one == name]
    path, folder = found
    return Reference.read(path), outcome(folder), folder


@pytest.mark.realdata
def test_scanner_files_give_the_volumes_of_dcm2niix_and_dicom2nifti(oracle: Path) -> None:
    compared, problems = 0, []
    for name, path, folder in references(oracle):
        if name in EXPLAINED:
            continue
        reference, found = Reference.read(path), outcome(folder)
        missing, left = unmatched(found, reference)
        compared += len(reference.volumes)
        if missing or left or found.reasons:
            problems.append(f"{name}: volumes {missing} equal none of ours; ours left {left}; {sorted(found.reasons)}")
    assert not problems, "\n".join(problems)
    assert compared >= 57


@pytest.mark.realdata
@pytest.mark.parametrize("name", PRECISE)
def test_precise_values_of_philips_are_ours_times_a_constant(oracle: Path, name: str) -> None:
    import pydicom

    reference, found, folder = named(oracle, name)
    dataset = pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True)
    constants = set()
    for group in dataset.PerFrameFunctionalGroupsSequence:
        private = group[0x2005, 0x140F].value[0]
        if PRECISE[name] in private.ImageType:
            slope = float(group.PixelValueTransformationSequence[0].RescaleSlope)
            constants.add(slope * float(private[0x2005, 0x100E].value))
    (constant,) = constants
    scaled = [replace(volume, voxels=volume.voxels / np.float64(constant)) for volume in found.volumes.values()]
    (voxels,) = reference.volumes
    said = [difference(volume, voxels, reference.affine, relative=2e-5) for volume in scaled]
    assert said.count("") == 1
    assert len(said) == 2


@pytest.mark.realdata
@pytest.mark.parametrize("name", sorted(REVERSED_MOSAICS))
def test_mosaics_lie_where_the_protocol_planned_them_and_not_where_dicom2nifti_puts_them(
    oracle: Path, name: str
) -> None:
    reference, found, folder = named(oracle, name)
    planned = planned_centres(next(iter(sorted(folder.iterdir()))))
    values = [volume.voxels for volume in found.volumes.values()]
    for voxels in reference.volumes:
        assert sum(np.array_equal(voxels, ours) for ours in values) == 1
    assert len(values) == len(reference.volumes)
    for volume in found.volumes.values():
        matrix, shape = volume.geometry.affine.matrix, volume.geometry.shape
        moved = reference.affine.copy()
        moved[:3, 3] -= (shape[2] - 1) * reference.affine[:3, 2]
        np.testing.assert_allclose(matrix, moved, atol=1e-3)
        middle = np.array([shape[0] / 2, shape[1] / 2, 0, 1])
        centres = np.array([(matrix @ np.add(middle, (0, 0, k, 0)))[:3] for k in range(shape[2])])
        np.testing.assert_allclose(centres, planned, atol=0.5)


def planned_centres(path: Path) -> NDArray[np.float64]:
    """The centres of the slices in the protocol of a Siemens file, LPS mm, from feet to head."""
    pattern = rb"sSliceArray\.asSlice\[(\d+)\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*([-+.\deE]+)"
    places: dict[int, dict[bytes, float]] = {}
    for number, axis, value in re.findall(pattern, path.read_bytes()):
        places.setdefault(int(number), {})[axis] = float(value)
    rows = [[places[n].get(axis, 0.0) for axis in (b"Sag", b"Cor", b"Tra")] for n in sorted(places)]
    return np.array(sorted(rows, key=lambda row: row[2]))


@pytest.mark.realdata
def test_the_emptied_reference_has_pixels_in_its_file(oracle: Path) -> None:
    """Checked against dcm2niix in `test_dcm2niix.py`; here: what the reference lacks, and the volume that it has."""
    reference, found, _ = named(oracle, EMPTIED)
    assert not any(voxels.any() for voxels in reference.volumes[1:])
    assert len(found.volumes) == 4
    assert all(volume.voxels.max() > 500 for volume in found.volumes.values())
    equal = [key for key, v in found.volumes.items() if not difference(v, reference.volumes[0], reference.affine)]
    assert [found.series[key].acquisition.b_value for key in equal] == [1300]


@pytest.mark.realdata
def test_colour_captures_become_no_volume(oracle: Path) -> None:
    found = outcome(oracle / COLOUR.replace("_ground_truth.nii.gz", ""))
    assert not found.volumes
    assert found.reasons == {"NO_IMAGE_SERIES"}


@pytest.mark.realdata
def test_every_reference_is_compared_or_explained(oracle: Path) -> None:
    names = {path.relative_to(oracle).as_posix() for path in oracle.rglob("*.nii*")}
    compared = {name for name, _, folder in references(oracle) if folder.is_dir()}
    assert compared | WITHOUT_DICOM == names
    assert compared >= EXPLAINED


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["lidc-dicom", "ct-dicom/series", "brain-mr-dicom/Study1"])
def test_real_series_equal_simpleitk(shared_data: Path, folder: str) -> None:
    """No nodule of LIDC-IDRI-0001 is in `lidc-nodules`, so SimpleITK (here) and dcm2niix judge its Hounsfield units."""
    import SimpleITK

    assert "LIDC-IDRI-0001" not in (shared_data / "lidc-nodules" / "nodules.csv").read_text()
    found = outcome(shared_data / folder)
    assert found.volumes
    assert not found.refusals
    for key, volume in found.volumes.items():
        reader = SimpleITK.ImageSeriesReader()
        files = [str(header.filename) for header in source_datasets(found.series[key])]
        reader.SetFileNames(files)
        image = reader.Execute()
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        affine[:3, 3] = image.GetOrigin()
        voxels = SimpleITK.GetArrayViewFromImage(image).transpose(2, 1, 0)
        assert difference(volume, voxels, affine) == ""
        if volume.quantity is Quantity.HOUNSFIELD:
            assert -1030 < np.percentile(volume.voxels[volume.voxels > -1500], 5) < -700
