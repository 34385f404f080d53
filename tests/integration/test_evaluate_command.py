"""`medfuse evaluate` from files to table and JSON, with a stand-in for the model."""

import json
import re
import shutil
import sys
import types
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medfuse.cli.main import main
from medfuse.domain import (
    Finding,
    LabelSet,
    LabelValue,
    ModelIdentity,
    Prediction,
    Scored,
    Segment,
    Segmentation,
    Study,
)
from medfuse.errors import CheckpointError, MissingInputError
from medfuse.evaluation import read_evaluation
from medfuse.ingest import find_studies, read_segmentation, read_volume
from medfuse.ingest.manifest import ManifestRow, row_of, write_manifest

SEGMENTS = ("anterior hippocampus", "posterior hippocampus")
CASES = 8


class StandIn:
    """Draws the true delineation, moved by `shift` voxels along i, and a probability from the voxels' mean."""

    identity = ModelIdentity(name="stand-in", version="0", weights_sha256="ab", config_sha256="cd")
    label_set = LabelSet(findings=("large",), segments=SEGMENTS)
    scored = 0
    shift = 0
    refuses: frozenset[str] = frozenset()
    shuffle_seed = None

    def predict(self, study: Study) -> Scored:
        self.scored += 1
        if study.study_instance_uid in self.refuses:
            raise MissingInputError("the study has no series for channel t1")
        volume = read_volume(study.series[0])
        truth = read_segmentation(study.segmentations[0], on=volume.geometry)
        segments = tuple(Segment(number=n, name=name) for n, name in enumerate(SEGMENTS, start=1))
        moved = np.roll(truth.label_map, self.shift, axis=0)
        prediction = Prediction(
            study_instance_uid=study.study_instance_uid,
            accession_number=study.accession_number,
            model=self.identity,
            findings=(
                Finding(name="large", probability=min(1.0, float(volume.voxels.mean()) / 100), operating_point=0.5),
            ),
            series_used={"t1": study.series[0].series_instance_uid},
            created_at="2026-01-01T00:00:00Z",
        )
        return Scored(
            prediction=prediction,
            segmentation=Segmentation(label_map=moved, geometry=volume.geometry, segments=segments),
            segmentation_series_uid=study.series[0].series_instance_uid,
        )


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """What `Predictor.from_checkpoint` gives; torch stays away."""
    stand_in = StandIn()

    class Predictor:
        @staticmethod
        def from_checkpoint(path: Path, *, device: str = "auto", without: tuple[str, ...] = ()) -> StandIn:
            if path.name != "best" or not path.is_dir():
                raise CheckpointError(f"{path} is no checkpoint; give a run folder")
            return stand_in

    module = types.ModuleType("medfuse.inference")
    module.Predictor = Predictor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "medfuse.inference", module)
    return stand_in


@pytest.fixture
def nifti_run(tmp_path: Path) -> Path:
    """A folder with a small Decathlon set, its manifest and a run that split it: 6 test, 1 validation, 1 train."""
    data = tmp_path / "data"
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    pairs = []
    for n in range(CASES):
        image = rng.normal(32 + 5 * n, 2, size=(10, 8, 6)).astype(np.float32)
        label = np.zeros(image.shape, np.uint8)
        label[3:6, 2:4, 2:4], label[3:6, 4:6, 2:4] = 1, 2
        nibabel.save(nibabel.Nifti1Image(image, affine), data / f"imagesTr/c{n}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label, affine), data / f"labelsTr/c{n}.nii.gz")
        pairs.append({"image": f"./imagesTr/c{n}.nii.gz", "label": f"./labelsTr/c{n}.nii.gz"})
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    table = {"name": "small", "modality": {"0": "MRI"}, "labels": labels, "training": pairs, "test": []}
    (data / "dataset.json").write_text(json.dumps(table))
    rows = []
    for n, study in enumerate(find_studies(data).studies):
        value = LabelValue.UNCERTAIN if n == 0 else LabelValue.PRESENT if n >= 4 else LabelValue.ABSENT
        rows.append(row_of(study, data, {"large": value}))
    write_run(tmp_path, rows, test=6)
    return tmp_path


def write_run(folder: Path, rows: list[ManifestRow], *, test: int) -> None:
    write_manifest(folder / "manifest.csv", rows)
    (folder / "run" / "best").mkdir(parents=True)
    splits = ["test"] * test + ["validation", "train"]
    lines = [f"{row.study_instance_uid},{row.patient_key},{split}" for row, split in zip(rows, splits, strict=False)]
    (folder / "run" / "splits.csv").write_text("\n".join(["study_instance_uid,patient_key,split", *lines]) + "\n")


def evaluate(folder: Path, *options: str) -> int:
    command = ["evaluate", str(folder / "run"), "--manifest", str(folder / "manifest.csv")]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--output", str(folder / "figures.json"), "--draws", "50", *options])
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_figures_are_printed_and_written(nifti_run: Path, model: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(nifti_run, "--seed", "3") == 0
    report = read_evaluation(nifti_run / "figures.json")
    large = report.findings[0]
    assert (report.split, report.studies, report.draws, report.seed) == ("test", 6, 50, 3)
    assert (large.present, large.absent, large.uncertain) == (2, 3, 1)
    assert large.auroc.value == 1.0  # the image's mean rises with the case's number, as the label does
    assert large.sensitivity.value == 1.0
    assert [segment.dice.value for segment in report.segments] == [1.0, 1.0]
    assert [segment.hd95_mm.value for segment in report.segments] == [0.0, 0.0]
    assert report.model == model.identity
    output = capsys.readouterr().out
    assert "stand-in on its test split: 6 studies of 6 patients" in output
    assert "1.000 to 1.000" in output
    assert "anterior hippocampus" in output
    assert str(nifti_run / "figures.json") in output.replace("\n", "")


def test_dice_and_hd95_of_a_shift_by_one_voxel(nifti_run: Path, model: StandIn) -> None:
    model.shift = 1
    assert evaluate(nifti_run) == 0
    for segment in read_evaluation(nifti_run / "figures.json").segments:
        assert segment.dice.value == pytest.approx(2 / 3)
        assert segment.hd95_mm.value == pytest.approx(1.0)
        assert segment.dice.n == 6


def test_one_bad_study_is_listed_and_the_exit_code_is_one(
    nifti_run: Path, model: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = read_rows(nifti_run)[2]
    model.refuses = frozenset({uid})
    assert evaluate(nifti_run) == 1
    report = read_evaluation(nifti_run / "figures.json")
    assert [(r.study_instance_uid, r.reason) for r in report.rejected] == [(uid, "MISSING_INPUT")]
    assert report.studies == 5
    output = capsys.readouterr().out
    assert uid in output
    assert "MISSING_INPUT" in output


def test_training_data_only_when_asked_for_and_called_so(
    nifti_run: Path, model: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(nifti_run, "--split", "train") == 0
    assert "TRAINING data" in capsys.readouterr().out.splitlines()[0]
    assert read_evaluation(nifti_run / "figures.json").split == "train"


def test_refusals_are_one_line_exit_two_and_write_nothing(
    nifti_run: Path, model: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*options: str) -> str:
        assert evaluate(nifti_run, *options) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ")
        assert "\n" not in error
        assert not (nifti_run / "figures.json").exists()
        return error

    assert "no study of split 'holdout'" in refused("--split", "holdout")
    assert "none.csv" in refused("--manifest", str(nifti_run / "none.csv"))
    model.label_set = LabelSet(findings=("large", "old"), segments=SEGMENTS)
    assert "predicts old" in refused()
    model.label_set = LabelSet(findings=("large",), segments=("liver",))
    assert "names a segment of the model (liver)" in refused()
    (nifti_run / "run" / "best").rmdir()
    assert "is no checkpoint" in refused()
    (nifti_run / "run" / "splits.csv").unlink()
    assert "RUN is a folder that medfuse train wrote" in refused()


def test_a_folder_as_output_is_refused_before_scoring(
    nifti_run: Path, model: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    (nifti_run / "figures.json").mkdir()
    assert evaluate(nifti_run) == 2
    assert "is a folder" in capsys.readouterr().err


@pytest.fixture
def known_weights(nifti_run: Path, model: StandIn) -> StandIn:
    """RUN/best says whose weights it holds."""
    (nifti_run / "run/best/checkpoint.json").write_text(model.identity.weights_sha256)
    return model


def test_figures_are_made_again_without_the_network(nifti_run: Path, known_weights: StandIn) -> None:
    assert evaluate(nifti_run) == 0
    first = read_evaluation(nifti_run / "figures.json")
    assert known_weights.scored == 6
    assert (nifti_run / "run/predictions/test.json").is_file()
    assert evaluate(nifti_run, "--tolerance-mm", "1") == 0
    assert known_weights.scored == 6
    again = read_evaluation(nifti_run / "figures.json")
    assert (again.findings, again.cases) == (first.findings, first.cases)
    assert again.segments[0].tolerance_mm == 1
    assert evaluate(nifti_run, "--rescore") == 0
    assert known_weights.scored == 12


def test_a_changed_manifest_other_weights_and_other_inputs_are_scored_anew(
    nifti_run: Path, known_weights: StandIn
) -> None:
    assert evaluate(nifti_run) == 0
    manifest = nifti_run / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("ABSENT", "PRESENT", 1))
    assert evaluate(nifti_run) == 0
    assert known_weights.scored == 12
    (nifti_run / "run/best/checkpoint.json").write_text("other")
    assert evaluate(nifti_run) == 0
    assert known_weights.scored == 18
    assert evaluate(nifti_run, "--without", "text") == 0
    assert known_weights.scored == 24
    assert evaluate(nifti_run, "--tolerance-mm", "0.5") == 0
    assert known_weights.scored == 30
    assert evaluate(nifti_run, "--tolerance-mm", "2") == 0
    assert known_weights.scored == 30  # what was made for 0.5 mm holds 2 mm too


def test_groups_of_any_column(nifti_run: Path, model: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = nifti_run / "manifest.csv"
    header, *lines = manifest.read_text().splitlines()
    told = [f"{header},sex,age", *(f"{line},{'MF'[n % 2]},{60 + 3 * n}" for n, line in enumerate(lines))]
    manifest.write_text("\n".join(told) + "\n")
    assert evaluate(nifti_run, "--by", "sex", "--by", "age:10", "--by", "has_report") == 0
    sex, age, report = read_evaluation(nifti_run / "figures.json").subgroups
    assert [(group.value, group.studies) for group in sex.groups] == [("F", 3), ("M", 3)]
    assert [group.value for group in age.groups] == ["60 to 69", "70 to 79"]
    assert [(group.value, group.studies) for group in report.groups] == [("without report", 6)]
    assert "large, AUROC" in sex.groups[0].few
    output = capsys.readouterr().out
    assert "by age:10" in output
    assert "no two groups can be compared" in output


def test_operating_points_come_from_validation(nifti_run: Path, model: StandIn) -> None:
    splits = nifti_run / "run/splits.csv"
    lines = splits.read_text().splitlines()
    # of eight studies, numbers 1 (ABSENT) and 7 (PRESENT) are for validation
    turned = [
        re.sub("test|validation|train", "validation" if n in (2, 8) else "test", line) for n, line in enumerate(lines)
    ]
    splits.write_text("\n".join([lines[0], *turned[1:]]) + "\n")
    assert evaluate(nifti_run, "--point", "youden") == 0
    report = read_evaluation(nifti_run / "figures.json")
    assert report.point_rule == "youden"
    assert any("chosen on the validation split" in note for note in report.notes)
    assert 0.37 < report.findings[0].operating_point < 0.67
    assert report.findings[0].operating_point != 0.5
    assert model.scored == 8


def test_lesions_are_found_one_by_one(nifti_run: Path, model: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(nifti_run, "--lesions", SEGMENTS[0]) == 0
    found = read_evaluation(nifti_run / "figures.json").segments
    assert (found[0].detection.lesions, found[0].detection.sensitivity.value) == (6, 1.0)
    assert found[1].detection is None
    assert "FROC score" in capsys.readouterr().out


def test_what_is_asked_for_in_vain_is_refused_in_one_line(
    nifti_run: Path, model: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, words in (
        (("--point", "best"), "expected youden"),
        (("--by", "scanner"), "no column 'scanner'"),
        (("--by", "patient_key"), "makes no groups"),
        (("--lesions", "liver"), "the model has the segments anterior hippocampus"),
        (("--sites", "scanner"), "no column 'scanner'"),
        (("--sites", "source"), "train with folds of whole sites"),
    ):
        assert evaluate(nifti_run, *options) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert error[-1].startswith("error: ")
        assert words in error[-1]
        assert not (nifti_run / "figures.json").exists()


def compare(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *arguments])
    return int(ended.value.code or 0)


def test_two_evaluations_are_compared(nifti_run: Path, model: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(nifti_run) == 0
    (nifti_run / "figures.json").rename(nifti_run / "first.json")
    model.shift = 1
    assert evaluate(nifti_run, "--rescore") == 0
    capsys.readouterr()
    files = [str(nifti_run / name) for name in ("first.json", "figures.json")]
    output = nifti_run / "comparison.json"
    assert compare(*files, "--output", str(output), "--draws", "100") == 0
    document = json.loads(output.read_text())
    assert [run["name"] for run in document["runs"]] == ["first", "figures"]
    assert document["correction"] == "Holm"
    dice = next(one for one in document["differences"] if one["measure"] == f"{SEGMENTS[0]}, Dice")
    assert dice["difference"]["value"] == pytest.approx(2 / 3 - 1)
    assert dice["test"] == "Wilcoxon"
    assert len(document["claims"]) == len(document["differences"])
    shown = capsys.readouterr().out
    assert "What may be claimed" in shown
    assert "6 studies of 6 patients" in shown
    assert compare(*files, "--measure", "Dice") == 0
    assert "for 2 comparisons" in capsys.readouterr().out


def test_runs_are_compared_by_what_was_kept_of_them(
    nifti_run: Path, known_weights: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(nifti_run) == 0
    shutil.copytree(nifti_run / "run", nifti_run / "other")
    capsys.readouterr()
    assert compare(str(nifti_run / "run"), str(nifti_run / "other"), "--draws", "50") == 0
    assert "no difference may be claimed" in capsys.readouterr().out.replace("\n", " ")
    (nifti_run / "other/best/checkpoint.json").write_text("trained on")
    assert compare(str(nifti_run / "run"), str(nifti_run / "other")) == 2
    assert "is of another checkpoint" in capsys.readouterr().err
    shutil.rmtree(nifti_run / "other/predictions")
    assert compare(str(nifti_run / "other"), str(nifti_run / "run")) == 2
    assert "make them: medfuse evaluate" in capsys.readouterr().err


def test_comparisons_that_make_no_sense_are_refused(
    nifti_run: Path, model: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(nifti_run) == 0
    capsys.readouterr()
    first = str(nifti_run / "figures.json")
    for arguments, words in (
        ((first,), "at least two runs"),
        ((first, first), "given twice"),
        ((first, str(nifti_run / "manifest.csv")), "is no evaluation"),
        ((first, first, "--split", "train"), "given twice"),
    ):
        assert compare(*arguments) == 2
        error = capsys.readouterr().err.strip()
        assert words in error
        assert "\n" not in error


@pytest.mark.realdata
def test_real_dicom_on_its_source_grid(shared_data: Path, tmp_path: Path, model: StandIn) -> None:
    folders = sorted((shared_data / "hippocampus" / "dicom").iterdir())[:4]
    rows = []
    for n, folder in enumerate(path for path in folders if path.is_dir()):
        (study,) = find_studies(folder).studies
        rows.append(row_of(study, folder, {"large": LabelValue.PRESENT if n % 2 else LabelValue.ABSENT}))
    write_run(tmp_path, rows, test=len(rows))
    model.shift = 1
    assert evaluate(tmp_path) == 0
    report = read_evaluation(tmp_path / "figures.json")
    assert report.studies == len(rows)
    for segment in report.segments:
        assert segment.dice.n == len(rows)
        assert 0.7 < segment.dice.value < 0.99
        assert segment.hd95_mm.value == pytest.approx(1.0)  # one voxel of 1 mm


def read_rows(folder: Path) -> list[str]:
    lines = (folder / "run" / "splits.csv").read_text().splitlines()[1:]
    return [line.split(",")[0] for line in lines]
