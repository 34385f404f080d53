"""One folder a study: what is in it, what is left out and said, what names it."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medfuse.domain import Series
from medfuse.errors import StorageError, StudyError, UsageError
from medfuse.outputs import read_prediction, result, store, study_folder, study_outputs, write_study_outputs
from tests.unit.outputs import cases

Headers = Callable[[list[pydicom.Dataset]], None]


@pytest.fixture
def headers(monkeypatch: pytest.MonkeyPatch) -> Headers:
    """Stands in for the files of the study's series."""

    def use(datasets: list[pydicom.Dataset]) -> None:
        monkeypatch.setattr(result, "source_datasets", lambda _: datasets)

    use(cases.classic_series(cases.grid()))
    return use


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def document(folder: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((folder / "prediction.json").read_text())
    return loaded


@pytest.mark.usefixtures("headers")
def test_the_folder_holds_all_four(tmp_path: Path) -> None:
    scored = cases.scored(segmentation=cases.label_map(cases.grid()), text="72 y")
    folder = write_study_outputs(scored, cases.study(), tmp_path / "out")
    assert folder == tmp_path / "out" / cases.STUDY_UID
    assert names(folder.parent) == [cases.STUDY_UID]
    assert names(folder) == ["prediction.json", "seg.dcm", "segmentation.nii.gz", "sr.dcm"]
    assert read_prediction(folder / "prediction.json") == scored.prediction
    assert scored.segmentation is not None
    np.testing.assert_array_equal(
        np.asarray(nib.load(folder / "segmentation.nii.gz").dataobj), scored.segmentation.label_map
    )
    seg = pydicom.dcmread(folder / "seg.dcm")
    assert seg.StudyInstanceUID == cases.STUDY_UID
    said = document(folder)
    assert pydicom.dcmread(folder / "sr.dcm").StudyInstanceUID == cases.STUDY_UID
    assert said["files"] == ["prediction.json", "segmentation.nii.gz", "seg.dcm", "sr.dcm"]
    assert said["segments"] == [{"number": n, "name": name} for n, name in enumerate(cases.LABELS.segments, start=1)]
    assert said["notes"] == []


def test_the_label_map_is_on_the_part_that_its_key_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, asked = cases.study(), []
    parts = tuple(dataclasses.replace(study.series[0], part=part) for part in ("echo-1", "echo-2"))

    def headers_of(series: Series) -> list[pydicom.Dataset]:
        asked.append(series.part)
        return cases.classic_series(cases.grid())

    monkeypatch.setattr(result, "source_datasets", headers_of)
    monkeypatch.setattr(result, "read_volume", lambda series: asked.append(series.part))
    scored = cases.scored(segmentation=cases.label_map(cases.grid()))
    scored = dataclasses.replace(scored, segmentation_series_uid=parts[1].key)
    write_study_outputs(scored, dataclasses.replace(study, series=parts), tmp_path / "out")
    assert asked == ["echo-2", "echo-2"], "its headers, and its voxels for the means"
    with pytest.raises(ValueError, match="no series"):
        write_study_outputs(scored, study, tmp_path / "out")


def test_a_nifti_study_gets_no_dicom_seg_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    scored = cases.scored(segmentation=cases.label_map(cases.grid()))
    folder = write_study_outputs(scored, cases.study(nifti=True), tmp_path)
    assert names(folder) == ["prediction.json", "segmentation.nii.gz"]
    assert document(folder)["files"] == ["prediction.json", "segmentation.nii.gz"]
    (note,) = document(folder)["notes"]  # type: ignore[misc]
    assert note.startswith("seg.dcm and sr.dcm are left out: the source is NIfTI")
    assert not caplog.records, "thousands of such studies are no thousands of warnings"


def test_a_grid_that_no_source_image_is_on_gets_no_dicom_seg_and_is_told(tmp_path: Path, headers: Headers) -> None:
    headers(cases.classic_series(cases.grid(cases.SAGITTAL)))
    scored = cases.scored(segmentation=cases.label_map(cases.grid()))
    folder = write_study_outputs(scored, cases.study(), tmp_path)
    assert names(folder) == ["prediction.json", "segmentation.nii.gz", "sr.dcm"]
    measured, left_out = document(folder)["notes"]  # type: ignore[misc]
    assert measured.startswith("sr.dcm holds no measurements: ")
    assert left_out.startswith("seg.dcm is left out: ")


def test_a_made_frame_of_reference_is_told(tmp_path: Path, headers: Headers) -> None:
    datasets = cases.classic_series(cases.grid())
    for dataset in datasets:
        del dataset.FrameOfReferenceUID
    headers(datasets)
    folder = write_study_outputs(cases.scored(segmentation=cases.label_map(cases.grid())), cases.study(), tmp_path)
    assert "seg.dcm" in names(folder)
    (note,) = document(folder)["notes"]  # type: ignore[misc]
    assert "Frame of Reference" in note


@pytest.mark.usefixtures("headers")
def test_a_model_without_segments_writes_its_findings_alone(tmp_path: Path) -> None:
    folder = write_study_outputs(cases.scored(), cases.study(), tmp_path)
    assert names(folder) == ["prediction.json", "sr.dcm"]
    assert document(folder)["notes"] == []


@pytest.mark.usefixtures("headers")
def test_a_study_scored_again_replaces_its_folder(tmp_path: Path) -> None:
    write_study_outputs(cases.scored(segmentation=cases.label_map(cases.grid())), cases.study(), tmp_path)
    folder = write_study_outputs(cases.scored(text="later"), cases.study(), tmp_path)
    assert names(folder) == ["prediction.json", "sr.dcm"]
    assert read_prediction(folder / "prediction.json").text_input == "later"


@pytest.mark.usefixtures("headers")
@pytest.mark.parametrize("failing", ["save_nifti", "prediction_json"])
def test_a_disk_that_fills_up_leaves_the_older_result_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    scored = cases.scored(segmentation=cases.label_map(cases.grid()), text="first")
    folder = write_study_outputs(scored, cases.study(), tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(study_outputs if failing == "save_nifti" else store, failing, fail)
    with pytest.raises(StorageError, match="no space left on the disk") as raised:
        write_study_outputs(scored, cases.study(), tmp_path)
    assert str(folder) in str(raised.value)
    assert names(tmp_path) == [cases.STUDY_UID]
    assert read_prediction(folder / "prediction.json").text_input == "first"


@pytest.mark.usefixtures("headers")
@pytest.mark.parametrize("error", [TypeError("Quixana"), MemoryError(), StudyError("cannot be had")])
def test_an_output_that_fails_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(study_outputs, "dicom_sr", fail)
    folder = write_study_outputs(cases.scored(segmentation=cases.label_map(cases.grid())), cases.study(), tmp_path)
    assert names(folder) == ["prediction.json", "seg.dcm", "segmentation.nii.gz"]
    (note,) = document(folder)["notes"]  # type: ignore[misc]
    assert note.startswith("sr.dcm is left out: ")
    assert "Quixana" not in note


@pytest.mark.usefixtures("headers")
def test_the_outputs_are_chosen_by_name(tmp_path: Path) -> None:
    scored = cases.scored(segmentation=cases.label_map(cases.grid()))
    assert names(write_study_outputs(scored, cases.study(), tmp_path, ())) == ["prediction.json"]
    folder = write_study_outputs(scored, cases.study(), tmp_path, ("dicom_sr",))
    assert names(folder) == ["prediction.json", "seg.dcm", "sr.dcm"], "the report refers to the segmentation"
    with pytest.raises(UsageError, match="unknown output 'dicom'; known: json, dicom_pdf, "):
        write_study_outputs(scored, cases.study(), tmp_path / "none", ("dicom",))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "uid", ["", ".", "..", "../1.2", "1.2/../../x", "/1.2", "1..2", "1.2.", "1.2\n", "1.2 ", "1.2x", "１.2", "1" * 65]
)
def test_a_uid_that_is_not_digits_and_dots_names_no_folder(tmp_path: Path, uid: str) -> None:
    with pytest.raises(StudyError) as raised:
        study_folder(tmp_path, uid)
    assert raised.value.reason == "INVALID_STUDY_UID"
    assert list(tmp_path.iterdir()) == []


def test_a_uid_with_a_path_in_it_writes_nothing(tmp_path: Path) -> None:
    uid = "../evil"
    scored = dataclasses.replace(
        cases.scored(), prediction=dataclasses.replace(cases.prediction(segments=False), study_instance_uid=uid)
    )
    with pytest.raises(StudyError):
        write_study_outputs(scored, cases.study(nifti=True, uid=uid), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_results_of_another_study_or_series_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another study"):
        write_study_outputs(cases.scored("1.9"), cases.study(), tmp_path)
    stray = dataclasses.replace(
        cases.scored(segmentation=cases.label_map(cases.grid())), segmentation_series_uid="1.2.9"
    )
    with pytest.raises(ValueError, match="no series"):
        write_study_outputs(stray, cases.study(), tmp_path)


@pytest.mark.realdata
def test_a_real_hippocampus_study(tmp_path: Path, shared_data: Path) -> None:
    from medfuse.domain import Scored
    from medfuse.ingest import find_studies, read_segmentation, read_volume

    (study,) = find_studies(shared_data / "hippocampus" / "dicom" / "001").studies
    geometry = read_volume(study.series[0]).geometry
    truth = read_segmentation(study.segmentations[0], geometry)
    said = dataclasses.replace(cases.prediction(), study_instance_uid=study.study_instance_uid, text_input="P001, 51 y")
    scored = Scored(prediction=said, segmentation=truth, segmentation_series_uid=study.series[0].series_instance_uid)
    folder = write_study_outputs(scored, study, tmp_path)
    np.testing.assert_array_equal(read_segmentation(folder / "seg.dcm", geometry).label_map, truth.label_map)
    np.testing.assert_array_equal(
        read_segmentation(folder / "segmentation.nii.gz", geometry).label_map, truth.label_map
    )
    assert read_prediction(folder / "prediction.json").text_input == "XXXX, 51 y"
