"""`medfuse convert` from the command line, on made files and on the real studies."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medfuse.cli.main import main
from medfuse.ingest import find_studies
from medfuse.ingest.nifti import read_nifti
from tests.unit.ingest.made_dicom import MR_IMAGE, ramp, save, slices, uid, write_series


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_each_series_becomes_a_file_of_its_number_and_uid(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", RescaleIntercept=-1024, spacing=(0.5, 1.5, 2.5))
    write_series(tmp_path / "in" / "b", SeriesInstanceUID=uid("b"), SeriesNumber=None, RescaleSlope=0.5)
    assert run("convert", tmp_path / "in", "--output", tmp_path / "out" / "deep") == 0
    out = tmp_path / "out" / "deep"
    names = {f"3_{uid('series')}.nii.gz", f"0_{uid('b')}.nii.gz"}
    assert {path.name for path in out.iterdir()} == names
    whole = nibabel.load(out / f"3_{uid('series')}.nii.gz")
    assert whole.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(whole.dataobj), ramp() - 1024)
    np.testing.assert_allclose(whole.affine, [[-0.5, 0, 0, 10], [0, -1.5, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])
    halves = nibabel.load(out / f"0_{uid('b')}.nii.gz")
    assert halves.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(halves.dataobj), ramp() * 0.5)


def test_large_whole_numbers_are_not_cut_to_16_bits(tmp_path: Path) -> None:
    voxels = ramp().astype(np.uint16) + 60000
    write_series(tmp_path / "in", voxels)
    assert run("convert", tmp_path / "in", "--output", tmp_path / "out") == 0
    (path,) = (tmp_path / "out").iterdir()
    np.testing.assert_array_equal(np.asarray(nibabel.load(path).dataobj), voxels)


def test_a_series_that_cannot_become_a_volume_gives_one_line_and_exit_code_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in" / "a")
    write_series(tmp_path / "in" / "b", ramp((5, 4, 4)), SeriesInstanceUID=uid("b"))[1].unlink()
    (tmp_path / "in" / "b" / "fake.dcm").write_text("text" * 50)
    assert run("convert", tmp_path / "in", "--output", tmp_path / "out") == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if line]
    assert [line for line in errors if uid("b") in line] == [errors[0]]
    assert errors[0].startswith("MISSING_SLICES: series ")
    assert errors[1] == "note: NOT_DICOM: 1 file: b/fake.dcm"
    assert "PATIENT-7" not in " ".join(errors)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"3_{uid('series')}.nii.gz"]


def test_each_part_of_a_series_becomes_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Two echoes in one series, and a third one that is no stack: two files, one line, exit code 1."""
    for number, places in ((1, range(4)), (2, range(4)), (3, (0, 1, 1, 3))):
        datasets = slices(ramp((5, 4, 4)) * number, Modality="MR", SOPClassUID=MR_IMAGE, EchoTime=5.0 * number)
        for k, (dataset, place) in enumerate(zip(datasets, places, strict=True)):
            dataset.ImagePositionPatient = [0, 0, 2.0 * place]
            save(dataset, tmp_path / "in" / f"{number}{k}")
    assert run("convert", tmp_path / "in", "--output", tmp_path / "out") == 1
    said = capfd.readouterr()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"3_{uid('series')}_echo-{number}.nii.gz" for number in (1, 2)
    }
    assert said.err.startswith(f"DUPLICATE_POSITIONS: series {uid('series')}/echo-3: ")
    assert said.out == f"2 of 3 series written to {tmp_path / 'out'}\n"
    second = nibabel.load(tmp_path / "out" / f"3_{uid('series')}_echo-2.nii.gz")
    np.testing.assert_array_equal(np.asarray(second.dataobj), ramp((5, 4, 4)) * 2)


def test_gaps_are_filled_on_request_and_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "in", ramp((5, 4, 5)))[2].unlink()
    assert run("convert", tmp_path / "in", "--output", tmp_path / "a") == 1
    assert capfd.readouterr().err.count("MISSING_SLICES") == 1
    assert list((tmp_path / "a").iterdir()) == []
    assert run("convert", tmp_path / "in", "--output", tmp_path / "b", "--fill-gaps") == 0
    said = capfd.readouterr()
    assert "MISSING_SLICES" not in said.err
    assert "note: " in said.err
    assert "Filled in 1 missing slices of 5" in said.err
    assert said.out.startswith("1 of 1 series")
    (path,) = (tmp_path / "b").iterdir()
    assert nibabel.load(path).shape == (5, 4, 5)


def test_one_series_uid_in_two_studies_gives_two_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_series(tmp_path / "in" / name, StudyInstanceUID=uid(name), PatientID=name)
    assert run("convert", tmp_path / "in", "--output", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_rejected_study_is_exit_code_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "in" / "a", PatientID="ONE")
    write_series(tmp_path / "in" / "b", PatientID="TWO", SeriesInstanceUID=uid("b"))
    assert run("convert", tmp_path / "in", "--output", tmp_path / "out") == 1
    assert "MIXED_PATIENTS" in capfd.readouterr().err


@pytest.mark.parametrize("case", ["missing", "empty", "no images", "output is a file"])
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    if case != "missing":
        source.mkdir()
    if case == "no images":
        (source / "x.dcm").write_text("text" * 50)
    if case == "output is a file":
        write_series(source)
        output.write_text("mine")
    assert run("convert", source, "--output", output) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert not output.exists() or output.read_text() == "mine"


def test_interrupted_leaves_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "in" / "a")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medfuse.storage.os.fsync", interrupt)
    assert run("convert", tmp_path / "in", "--output", tmp_path / "out") == 130
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in" / "a")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medfuse.storage.os.fsync", full)
    assert run("convert", tmp_path / "in", "--output", tmp_path / "out") == 2
    assert "no space left" in capfd.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def compare_with_the_set(converted: Path, source: Path, reference: Path) -> int:
    """Compare converted files with the Decathlon set in world space; return how many were compared."""
    count = 0
    for study in find_studies(source).studies:
        name = f"hippocampus_{study.path.name}.nii.gz"
        (series,) = study.series
        found = read_nifti(converted / f"{series.number or 0}_{series.series_instance_uid}.nii.gz")
        truth = read_nifti(reference / "imagesTr" / name)
        matrix = truth.geometry.affine.inverse() @ found.geometry.affine.matrix
        turn = np.rint(matrix)
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in found.geometry.shape])).reshape(3, -1).T
        index = corners @ turn[:3, :3].T + turn[:3, 3]
        apart = truth.geometry.affine.apply(index) - found.geometry.affine.apply(corners)
        assert np.abs(apart).max() < 1e-3, study.path.name
        places = np.moveaxis(np.indices(found.geometry.shape), 0, -1) @ turn[:3, :3].T + turn[:3, 3]
        expected = truth.voxels[tuple(np.moveaxis(places.astype(int), -1, 0))]
        steps = np.unique(np.diff(np.unique(found.voxels)))
        step = float(steps[steps > 1e-3 * max(1.0, float(steps.max()))].min())
        assert found.voxels.size == truth.voxels.size
        assert np.abs(found.voxels - expected).max() <= step * 1.001 or np.array_equal(found.voxels, expected)
        count += 1
    return count


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["001", "003", "004", "056", "124", "126"])
def test_real_studies_equal_their_nifti(shared_data: Path, tmp_path: Path, name: str) -> None:
    """One study of each of three transfer syntaxes, with and without a rescale slope of 1."""
    source = shared_data / "hippocampus" / "dicom" / name
    assert run("convert", source, "--output", tmp_path) == 0
    assert compare_with_the_set(tmp_path, source, shared_data / "hippocampus" / "nifti") == 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.realdata
def test_all_200_studies_equal_their_nifti(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "hippocampus" / "dicom"
    assert run("convert", source, "--output", tmp_path) == 0
    assert compare_with_the_set(tmp_path, source, shared_data / "hippocampus" / "nifti") == 200


@pytest.mark.realdata
@pytest.mark.parametrize(("folder", "count"), [("brain-mr-dicom", 5), ("ct-dicom/series", 1), ("lidc-dicom", 1)])
def test_other_real_studies_convert(shared_data: Path, tmp_path: Path, folder: str, count: int) -> None:
    assert run("convert", shared_data / folder, "--output", tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == count
