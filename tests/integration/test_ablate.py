"""Folds, their ensemble, and `medfuse ablate`, on made studies and networks of a few hundred weights."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medfuse.cli.main import main
from medfuse.evaluation import read_evaluation
from medfuse.outputs import read_prediction, read_scores
from medfuse.phantom import write_phantom

pytestmark = pytest.mark.slow

STUDIES = 18
TINY = [
    "training.epochs=1",
    "training.augment=null",
    "training.validate_every=1",
    "training.precision=fp32",
    "model.width=8",
    "model.image.features=[2,4]",
    "model.text={name: hashing, buckets: 64}",
    "model.fusion={name: cross_attention, layers: 1, heads: 2}",
    "recipe.spacing_mm=[14,14,14]",
    "recipe.size=[16,16,16]",
    "data.validation_fraction=0.34",
]


def medfuse(*words: object) -> int:
    """Run one command in this process; its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def settings(root: Path, *more: str) -> list[str]:
    values = [f"data.manifest={root / 'manifest.csv'}", *TINY, *more]
    return [word for value in values for word in ("--set", value)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made studies and their manifest."""
    folder = tmp_path_factory.mktemp("ablate")
    write_phantom("brain_mr", folder / "studies", studies=STUDIES, seed=7)
    labels = folder / "studies" / "labels.csv"
    assert medfuse("index", folder / "studies", "--labels", labels, "--output", folder / "manifest.csv") == 0
    return folder


@pytest.fixture(scope="module")
def folds(root: Path) -> Path:
    """A cross-validation of three folds."""
    run = root / "folds"
    words = ("train", "configs/train/phantom_brain_mr.yaml", "--output", run, "--folds", 3, *settings(root))
    assert medfuse(*words) == 0
    return run


def splits(run: Path) -> dict[str, str]:
    rows = csv.DictReader((run / "splits.csv").read_text().splitlines())
    return {row["study_instance_uid"]: row["split"] for row in rows}


def test_a_fold_is_what_the_test_fold_makes_of_it(root: Path, folds: Path, tmp_path: Path) -> None:
    config = "configs/train/phantom_brain_mr.yaml"
    single = settings(root, "data.folds=3", "data.test_fold=1")
    assert medfuse("train", config, "--output", tmp_path / "one", *single) == 0
    assert splits(tmp_path / "one") == splits(folds / "fold-1")
    one, other = (path / "best" / "model.safetensors" for path in (tmp_path / "one", folds / "fold-1"))
    assert one.read_bytes() == other.read_bytes()
    tests = [{uid for uid, split in splits(folds / f"fold-{k}").items() if split == "test"} for k in range(3)]
    assert sum(map(len, tests)) == len(set.union(*tests)) == len(splits(tmp_path / "one"))


def test_finished_folds_are_left_alone(root: Path, folds: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folds, run)
    shutil.rmtree(run / "fold-1")
    (run / "folds.json").unlink()
    words = ["train", "configs/train/phantom_brain_mr.yaml", "--output", run, "--folds", 3, *settings(root)]
    assert medfuse("score", run, root / "studies", "--output", tmp_path / "out") == 2
    before = {k: (run / f"fold-{k}" / "last" / "model.safetensors").stat().st_mtime_ns for k in (0, 2)}
    assert medfuse(*words, "--resume") == 0
    after = {k: (run / f"fold-{k}" / "last" / "model.safetensors").stat().st_mtime_ns for k in (0, 2)}
    assert before == after
    one, other = (path / "fold-1" / "best" / "model.safetensors" for path in (run, folds))
    assert one.read_bytes() == other.read_bytes()


def test_evaluate_pools_the_folds_and_lists_each(root: Path, folds: Path, tmp_path: Path) -> None:
    words = ("evaluate", folds, "--manifest", root / "manifest.csv", "--draws", 30)
    assert medfuse(*words, "--output", tmp_path / "all.json") == 0
    report = read_evaluation(tmp_path / "all.json")
    uids = [case.study_instance_uid for case in report.cases]
    assert len(uids) == len(set(uids)) == report.studies == STUDIES
    assert [fold.name for fold in report.folds] == ["fold-0", "fold-1", "fold-2"]
    assert sum(fold.studies for fold in report.folds) == STUDIES
    medfuse("evaluate", folds / "fold-2", "--manifest", root / "manifest.csv", "--output", tmp_path / "2.json")
    alone = read_evaluation(tmp_path / "2.json")
    pooled = {case.study_instance_uid: case.probabilities for case in report.cases}
    assert all(pooled[case.study_instance_uid] == case.probabilities for case in alone.cases)
    assert report.folds[2].dice["lesion_core"].value == alone.segments[0].dice.value
    assert medfuse(*words, "--output", tmp_path / "no.json", "--split", "train") == 2


def test_the_folds_score_as_an_ensemble(root: Path, folds: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    folder = next(path for path in sorted((root / "studies").iterdir()) if path.is_dir())
    shutil.copytree(folder, new / folder.name)
    assert medfuse("score", folds, new, "--output", tmp_path / "all") == 0
    (row,) = read_scores(tmp_path / "all" / "scores.csv")
    members = []
    for k in range(3):
        assert medfuse("score", folds / f"fold-{k}", new, "--output", tmp_path / str(k)) == 0
        (one,) = read_scores(tmp_path / str(k) / "scores.csv")
        assert one.spreads == {}
        members.append(one.probabilities)
    for name, value in row.probabilities.items():
        said = [member[name] for member in members]
        assert value == pytest.approx(np.mean(said))
        assert row.spreads[name] == pytest.approx(np.std(said))
    prediction = read_prediction(tmp_path / "all" / row.study_instance_uid / "prediction.json")
    assert {finding.name: finding.spread for finding in prediction.findings} == row.spreads
    assert medfuse("score", folds, new, "--output", tmp_path / "0") == 2  # a table of one model takes no ensemble


def test_inputs_can_be_kept_from_the_model(root: Path, folds: Path, tmp_path: Path) -> None:
    words = ("evaluate", folds / "fold-0", "--manifest", root / "manifest.csv", "--draws", 20)
    reports = {}
    for kept in ("text", "image", "flair"):
        path = tmp_path / f"{kept}.json"
        assert medfuse(*words, "--output", path, "--without", kept) == 0
        reports[kept] = read_evaluation(path)
        assert any(note.startswith(f"WITHOUT {kept}") for note in reports[kept].notes)
    assert reports["image"].mean_dice is not None
    assert reports["image"].mean_dice.value is None
    assert len({json.dumps(report.cases[0].probabilities) for report in reports.values()}) == 3
    assert reports["text"].segments[0].dice.value is not None
    assert medfuse(*words, "--output", tmp_path / "no.json", "--without", "adc") == 2
    assert medfuse(*words, "--output", tmp_path / "no.json", "--without", "text", "--without", "image") == 2


def test_an_ablation_tables_every_variant_and_goes_on(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ablate", "configs/train/phantom_brain_mr.yaml", "--output", tmp_path, *settings(root, "data.folds=3")]
    words += ["--draws", 30, "--markdown", "--variants", "image-only,text-only,concat,shuffled-reports"]
    assert medfuse(*words) == 0
    table = json.loads((tmp_path / "ablation.json").read_text())
    names = [variant["name"] for variant in table["variants"]]
    full = "cross_attention"
    missing = [f"{full}, text missing", f"{full}, image missing"]
    assert names == [full, *missing, "image-only", "text-only", "concat", "shuffled-reports"]
    pairs = [(comparison["name"], comparison["against"]) for comparison in table["comparisons"]]
    assert ("concat", full) in pairs
    assert ("shuffled-reports", "image-only") in pairs
    assert (missing[0], "image-only") in pairs
    by_name = {variant["name"]: variant for variant in table["variants"]}
    assert by_name["text-only"]["mean_dice"] is None
    assert any("SHUFFLED" in note for note in by_name["shuffled-reports"]["notes"])
    assert len({json.dumps(splits(tmp_path / name)) for name in (full, "concat", "text-only")}) == 1
    assert (tmp_path / "ablation.md").read_text().count("| concat |") == 1
    assert "undecided" in capsys.readouterr().out
    stamped = json.loads((tmp_path / "shuffled-reports" / "best" / "checkpoint.json").read_text())
    assert stamped["config"]["data"]["shuffle_reports"] is True

    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/evaluation.json")}
    shutil.rmtree(tmp_path / "concat")
    medfuse(*words)
    again = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/evaluation.json")}
    assert {path.parent.name for path in again if again[path] != kept[path]} == {"concat"}
    repeated = json.loads((tmp_path / "ablation.json").read_text())
    assert repeated["variants"][5]["auroc"] == by_name["concat"]["auroc"]


def test_an_unknown_variant_is_refused_before_anything_is_read(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("ablate", "configs/train/phantom_brain_mr.yaml", "--output", tmp_path / "no", *settings(root))
    assert medfuse(*words, "--variants", "conact") == 2
    assert "conact" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
