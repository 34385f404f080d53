"""The NIfTI doors: LPS inside, RAS outside, whole files or none."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medfuse.domain import Affine, Modality, Quantity, Segment, Segmentation, Series, Volume, VolumeGeometry
from medfuse.errors import StorageError, UnreadableFileError, UnreadableSeriesError
from medfuse.ingest import read_volume, write_nifti
from medfuse.ingest.nifti import nifti_study, read_label_map, read_nifti
from medfuse.ingest.uids import path_uid

AFFINE = Affine.from_parts(
    origin_mm=(10, -20, 30), direction=[[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, -1]], spacing_mm=(0.5, 1, 2)
)


def volume(voxels: np.ndarray | None = None) -> Volume:
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4) if voxels is None else voxels
    return Volume(voxels=voxels, geometry=VolumeGeometry(shape=voxels.shape, affine=AFFINE))


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
def test_a_round_trip_keeps_voxels_and_places(tmp_path: Path, name: str) -> None:
    write_nifti(volume(), tmp_path / name)
    back = read_nifti(tmp_path / name, modality=Modality.CT)
    np.testing.assert_array_equal(back.voxels, volume().voxels)
    assert back.geometry.is_close(volume().geometry)
    assert back.quantity is Quantity.HOUNSFIELD
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_file_says_ras(tmp_path: Path) -> None:
    write_nifti(volume(), tmp_path / "x.nii.gz")
    image = nibabel.load(tmp_path / "x.nii.gz")
    lps = AFFINE.apply((1, 2, 3))
    np.testing.assert_allclose((image.affine @ (1, 2, 3, 1))[:3], lps * (-1, -1, 1), atol=1e-5)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    write_nifti(volume(), tmp_path / "a.nii.gz")
    write_nifti(volume(), tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_the_type_on_disk_can_be_chosen(tmp_path: Path) -> None:
    write_nifti(volume(), tmp_path / "x.nii", dtype=np.int16)
    image = nibabel.load(tmp_path / "x.nii")
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume().voxels)


def test_a_segmentation_is_written_as_labels(tmp_path: Path) -> None:
    labels = np.zeros((2, 3, 4), np.uint8)
    labels[1, 2, 3] = 7
    segmentation = Segmentation(
        label_map=labels, geometry=volume().geometry, segments=(Segment(number=7, name="seven"),)
    )
    write_nifti(segmentation, tmp_path / "s.nii.gz")
    back, grid = read_label_map(tmp_path / "s.nii.gz")
    np.testing.assert_array_equal(back, labels)
    assert grid.is_close(volume().geometry)


def test_a_sheared_grid_gets_no_qform(tmp_path: Path) -> None:
    matrix = AFFINE.matrix.copy()
    matrix[:3, 2] += (0.3, 0, 0)
    sheared = Volume(voxels=volume().voxels, geometry=VolumeGeometry(shape=(2, 3, 4), affine=Affine(matrix)))
    write_nifti(sheared, tmp_path / "x.nii")
    assert int(nibabel.load(tmp_path / "x.nii").header["qform_code"]) == 0
    assert read_nifti(tmp_path / "x.nii").geometry.is_close(sheared.geometry)


def test_scaling_in_the_header_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(0.5, -1024)
    path = tmp_path / "x.nii"
    nibabel.save(image, path)
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([0.5, -1024], "<f4").tobytes()
    data[352:] = np.arange(24, dtype="<i2").tobytes()
    path.write_bytes(data)
    np.testing.assert_allclose(read_nifti(path).voxels.ravel(order="F"), np.arange(24) * 0.5 - 1024)


def test_a_channel_of_a_4d_file(tmp_path: Path) -> None:
    values = np.arange(48, dtype=np.int16).reshape(2, 3, 4, 2)
    path = tmp_path / "x.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    channels = (("FLAIR", Modality.MR), ("T1", Modality.MR))
    study = nifti_study(path, channels=channels)
    assert [(s.description, s.modality) for s in study.series] == list(channels)
    for n, series in enumerate(study.series):
        np.testing.assert_array_equal(read_volume(series).voxels, values[..., n])
    with pytest.raises(UnreadableSeriesError, match="name one") as caught:
        read_nifti(path)
    assert caught.value.reason == "CHANNEL_NEEDED"
    with pytest.raises(UnreadableSeriesError, match="no channel 2"):
        read_nifti(path, channel=2)


def test_values_that_are_not_finite_are_filled_and_said(tmp_path: Path) -> None:
    voxels = volume().voxels.copy()
    voxels[0, 0, 0], voxels[0, 0, 1] = np.nan, np.inf
    write_nifti(volume(voxels), tmp_path / "x.nii")
    back = read_nifti(tmp_path / "x.nii", modality=Modality.CT)
    assert back.voxels[0, 0, :2].tolist() == [-1024, -1024]
    assert back.provenance == ("set values that are not finite to -1024",)


def test_a_header_without_orientation_is_said(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.ones((2, 3, 4), np.int16), np.eye(4))
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "x.nii")
    (note,) = read_nifti(tmp_path / "x.nii").provenance
    assert "no orientation" in note


@pytest.mark.parametrize("keep", [0, 100, 400, -20])
@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
def test_a_cut_file_is_refused(tmp_path: Path, name: str, keep: int) -> None:
    noise = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    write_nifti(volume(noise), tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:keep])
    with pytest.raises(UnreadableSeriesError, match=name) as caught:
        read_volume(Series(series_instance_uid="2.25.1", modality=Modality.MR, files=(tmp_path / name,)))
    assert caught.value.reason == "UNREADABLE_FILE"


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
def test_an_absurd_header_is_refused_before_memory_is_taken(tmp_path: Path, name: str) -> None:
    write_nifti(volume(), tmp_path / "y.nii")
    data = bytearray((tmp_path / "y.nii").read_bytes())
    data[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(UnreadableSeriesError, match="announces"):
        read_nifti(tmp_path / name)


def test_a_singular_affine_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.ones((2, 3, 4), np.int16), None)
    image.set_sform(np.diag([1, 0, 1, 1]), code=1)
    nibabel.save(image, tmp_path / "x.nii")
    with pytest.raises(UnreadableSeriesError) as caught:
        read_nifti(tmp_path / "x.nii")
    assert caught.value.reason == "INCONSISTENT_GEOMETRY"


def test_another_format_under_the_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.nii").write_text("text" * 200)
    with pytest.raises(UnreadableFileError, match=r"x\.nii"):
        nifti_study(tmp_path / "x.nii")


@pytest.mark.parametrize("value", [0.5, -1, 256])
def test_other_values_than_labels_are_refused(tmp_path: Path, value: float) -> None:
    write_nifti(volume(np.full((2, 3, 4), value, np.float32)), tmp_path / "x.nii")
    with pytest.raises(UnreadableFileError) as caught:
        read_label_map(tmp_path / "x.nii")
    assert caught.value.reason == "NOT_A_LABEL_MAP"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    path = tmp_path / "x.nii.gz"
    write_nifti(volume(), path)
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr("medfuse.storage.os.fsync", fail)
    with pytest.raises((StorageError, KeyboardInterrupt)) as caught:
        write_nifti(volume(volume().voxels + 1), path)
    assert isinstance(caught.value, KeyboardInterrupt) or "no space left" in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["x.nii.gz"]
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        write_nifti(volume(), tmp_path / "file" / "x.nii")


def test_uids_of_places_are_valid_and_differ(tmp_path: Path) -> None:
    uids = {path_uid(tmp_path / "a"), path_uid(tmp_path / "b"), path_uid(tmp_path / "a", "series")}
    assert len(uids) == 3
    assert path_uid(tmp_path / "x" / ".." / "a") in uids
    assert all(uid.startswith("2.25.") and len(uid) <= 64 and not uid.startswith("2.25.0") for uid in uids)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["example_ct_sm.nii.gz", "example_mr_sm.nii.gz"])
def test_real_volumes(shared_data: Path, name: str) -> None:
    path = shared_data / "ct-nifti" / name
    image = nibabel.load(path)
    back = read_nifti(path)
    np.testing.assert_allclose(back.voxels, image.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(back.geometry.affine.to_ras(), image.affine)
