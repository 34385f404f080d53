"""The command line from a folder of DICOM studies to results, and what it says to bad input."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medfuse.cli.main import main
from medfuse.outputs import read_prediction, read_scores
from medfuse.phantom import write_phantom

STUDIES = 24
SMALL = ["training.epochs=2", "model.image.features=[4,8,16]", "training.validate_every=1"]

PLAIN = ("--one-process", "--engine", "pytorch", "--precision", "fp32")
"""Scores without processes of its own and without trying engines, which have tests of their own."""


def medfuse(*words: object) -> int:
    """Run one command in this process; its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def train(root: Path, output: Path, *settings: str, resume: bool = False) -> int:
    values = [f"data.manifest={root / 'manifest.csv'}", *SMALL, *settings]
    options = [word for value in values for word in ("--set", value)]
    return medfuse(
        "train", "configs/train/phantom_brain_mr.yaml", "--output", output, *options, *(["--resume"] if resume else [])
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made studies, their manifest, and a run trained on them."""
    folder = tmp_path_factory.mktemp("pipeline")
    write_phantom("brain_mr", folder / "studies", studies=STUDIES, seed=7)
    labels = folder / "studies" / "labels.csv"
    assert medfuse("index", folder / "studies", "--labels", labels, "--output", folder / "manifest.csv") == 0
    assert train(folder, folder / "run") == 0
    return folder


@pytest.fixture
def new(root: Path, tmp_path: Path) -> Path:
    """Three of the studies, to score."""
    for folder in sorted(path for path in (root / "studies").iterdir() if path.is_dir())[:3]:
        shutil.copytree(folder, tmp_path / "new" / folder.name)
    return tmp_path / "new"


def test_a_run_holds_what_it_says(root: Path) -> None:
    run = root / "run"
    assert {path.name for path in run.iterdir()} == {"best", "last", "log", "losses.csv", "config.yaml", "splits.csv"}
    splits = list(csv.DictReader((run / "splits.csv").read_text().splitlines()))
    by_patient: dict[str, set[str]] = {}
    for row in splits:
        by_patient.setdefault(row["patient_key"], set()).add(row["split"])
    assert len(splits) == STUDIES
    assert all(len(found) == 1 for found in by_patient.values())
    checkpoint = json.loads((run / "best" / "checkpoint.json").read_text())
    assert checkpoint["recipe"]["text_sections"] == ["INDICATION", "HISTORY", "TECHNIQUE"]
    assert str(root) not in json.dumps(checkpoint)


def test_evaluate_writes_every_figure_with_its_interval(root: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code = medfuse("evaluate", root / "run", "--manifest", root / "manifest.csv", "--output", report, "--draws", 50)
    assert code == 0
    figures = json.loads(report.read_text())
    assert [finding["name"] for finding in figures["findings"]] == ["enhancing_lesion", "seizures", "high_grade_risk"]
    dice = figures["segments"][0]["dice"]
    assert dice["n"] > 0
    assert dice["low"] <= dice["value"] <= dice["high"]


def test_score_writes_a_row_and_a_folder_a_study(root: Path, new: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert medfuse("score", root / "run", new, "--output", results) == 0
    rows = read_scores(results / "scores.csv")
    assert len(rows) == 3
    for row in rows:
        assert row.status == "scored"
        folder = results / row.study_instance_uid
        prediction = read_prediction(folder / "prediction.json")
        assert {f.name: f.probability for f in prediction.findings} == pytest.approx(row.probabilities, abs=1e-4)
        assert (folder / "segmentation.nii.gz").is_file()
        source = next(path for path in new.rglob("*") if path.is_file() and _uid(path) == row.study_instance_uid)
        if (folder / "seg.dcm").is_file():
            seg = pydicom.dcmread(folder / "seg.dcm")
            assert seg.PatientID == pydicom.dcmread(source).PatientID
    assert set(json.loads((results / "sources.json").read_text())) == {row.study_instance_uid for row in rows}


def _uid(path: Path) -> str:
    try:
        return str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)
    except (pydicom.errors.InvalidDicomError, AttributeError):
        return ""


def test_scoring_again_leaves_what_is_done(root: Path, new: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    medfuse("score", root / "run", new, "--output", results, *PLAIN)
    before = {path: path.stat().st_mtime_ns for path in results.rglob("prediction.json")}
    assert medfuse("score", root / "run", new, "--output", results, *PLAIN) == 0
    assert {path: path.stat().st_mtime_ns for path in results.rglob("prediction.json")} == before
    assert medfuse("score", root / "run", new, "--output", results, "--again", *PLAIN) == 0
    assert {path: path.stat().st_mtime_ns for path in results.rglob("prediction.json")} != before


def test_a_study_without_its_report_or_one_series_is_scored(root: Path, new: Path, tmp_path: Path) -> None:
    folders = sorted(new.iterdir())
    for report in new.rglob("report.txt"):
        report.unlink()
    for path in [path for path in folders[0].rglob("*") if path.is_file()]:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        if "FLAIR" in str(header.get("SeriesDescription", "")).upper():
            path.unlink()
    results = tmp_path / "results"
    assert medfuse("score", root / "run", new, "--output", results, *PLAIN) == 0
    predictions = [read_prediction(path) for path in results.rglob("prediction.json")]
    assert all("text" in prediction.missing for prediction in predictions)
    assert any("flair" in prediction.missing for prediction in predictions)


def test_bad_studies_are_rejected_and_the_rest_is_scored(root: Path, new: Path, tmp_path: Path) -> None:
    folders = sorted(new.iterdir())
    images = [path for path in folders[0].rglob("*") if path.is_file() and path.suffix == ""]
    other = pydicom.dcmread(images[0])
    other.PatientID = "ANOTHER"
    other.save_as(images[0])
    results = tmp_path / "results"
    assert medfuse("score", root / "run", new, "--output", results, *PLAIN) == 1
    status = {row.reason or row.status for row in read_scores(results / "scores.csv")}
    assert status == {"scored", "MIXED_PATIENTS"}


def test_resume_of_a_finished_run_changes_nothing(root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(root / "run", run)
    before = (run / "best" / "model.safetensors").read_bytes()
    assert train(root, run, resume=True) == 0
    assert (run / "best" / "model.safetensors").read_bytes() == before


BAD_TRAINING = {
    "misspelt key": (["model.fusoin=concat"], "did you mean model.fusion"),
    "misspelt training key": (["training.epoch=3"], "training.epoch"),
    "unknown finding": (["labels.findings=[seizure]"], "seizure"),
    "unknown segment": (["labels.segments=[tumour]"], "tumour"),
    "leakage": (["recipe.text_sections=[FINDINGS]"], "allow_leakage"),
    "no modality": (["model.image=null", "model.text=null"], "see nothing"),
    "no such manifest": (["data.manifest=nowhere.csv"], "nowhere.csv"),
}


@pytest.mark.parametrize("case", BAD_TRAINING)
def test_bad_training_input_is_one_line_and_writes_no_checkpoint(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    settings, said = BAD_TRAINING[case]
    assert train(root, tmp_path / "run", *settings) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert said in errors[0]
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_run_folder_that_holds_something_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(root, root / "run") == 2
    assert "--resume" in capsys.readouterr().err


def test_scoring_refuses_what_cannot_end_well(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "scan.dcm").write_text("not DICOM")
    for checkpoint, path in (
        (root / "run", tmp_path / "empty"),
        (root / "run", tmp_path / "notes"),
        (root / "run", tmp_path / "nowhere"),
        (tmp_path / "empty", root / "studies"),
    ):
        assert medfuse("score", checkpoint, path, "--output", tmp_path / "results", *PLAIN) == 2
        assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_checkpoint_of_another_label_set_is_refused(root: Path, new: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    header = "study_instance_uid,accession_number,status,reason,model,probability_other\n"
    (results / "scores.csv").write_text(header)
    assert medfuse("score", root / "run", new, "--output", results, *PLAIN) == 2
    assert (results / "scores.csv").read_text() == header


def test_the_models_answer_lies_on_the_source_grid(root: Path, new: Path, tmp_path: Path) -> None:
    import nibabel as nib

    from medfuse.ingest import find_studies, read_volume

    results = tmp_path / "results"
    medfuse("score", root / "run", new, "--output", results, *PLAIN)
    for study in find_studies(new).studies:
        folder = results / study.study_instance_uid
        used = read_prediction(folder / "prediction.json").series_used
        series = next(s for s in study.series if s.series_instance_uid == next(iter(used.values())))
        image = nib.load(folder / "segmentation.nii.gz")
        geometry = read_volume(series).geometry
        assert image.shape == geometry.shape
        np.testing.assert_allclose(image.affine, geometry.affine.to_ras(), atol=1e-3)


@pytest.mark.realdata
def test_a_real_brain_study_is_scored_by_a_model_of_its_family(root: Path, shared_data: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert medfuse("score", root / "run", shared_data / "brain-mr-dicom", "--output", results, *PLAIN) == 0
    (row,) = read_scores(results / "scores.csv")
    prediction = read_prediction(results / row.study_instance_uid / "prediction.json")
    assert set(prediction.series_used) == {"t1", "t1ce", "flair", "t2"}
    assert (results / row.study_instance_uid / "segmentation.nii.gz").is_file()


@pytest.mark.slow
@pytest.mark.realdata
def test_a_real_chest_ct_is_scored_by_a_model_of_its_family(shared_data: Path, tmp_path: Path) -> None:
    write_phantom("chest_ct", tmp_path / "studies", studies=20, seed=7)
    labels = tmp_path / "studies" / "labels.csv"
    assert medfuse("index", tmp_path / "studies", "--labels", labels, "--output", tmp_path / "manifest.csv") == 0
    settings = [f"data.manifest={tmp_path / 'manifest.csv'}", *SMALL, "training.epochs=1"]
    options = [word for value in settings for word in ("--set", value)]
    run, results = tmp_path / "run", tmp_path / "results"
    assert medfuse("train", "configs/train/phantom_chest_ct.yaml", "--output", run, *options) == 0
    for name in ("ct-dicom", "lidc-dicom"):
        assert medfuse("score", run, shared_data / name, "--output", results, *PLAIN) == 0
    assert [row.status for row in read_scores(results / "scores.csv")] == ["scored", "scored"]


def test_no_identity_stands_in_a_run_a_manifest_or_a_result(root: Path, new: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    medfuse("score", root / "run", new, "--output", results, *PLAIN)
    planted: set[bytes] = set()
    for path in (path for path in (root / "studies").rglob("*") if path.is_file() and not path.suffix):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        family_name = str(header.PatientName).split("^")[0]
        planted |= {family_name.encode(), str(header.PatientID).encode(), str(header.PatientBirthDate).encode()}
    planted.discard(b"")
    assert len(planted) > STUDIES / 2
    places = [*(root / "run").rglob("*"), root / "manifest.csv", *results.rglob("*")]
    for path in (path for path in places if path.is_file() and path.suffix != ".dcm"):
        content = path.read_bytes()
        found = [word for word in planted if word in content]
        assert not found, f"{path.name} holds an identity"
