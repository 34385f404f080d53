"""What a report takes of a run, and what it refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medfuse.domain import ModelIdentity
from medfuse.errors import CheckpointError, UsageError
from medfuse.evaluation import EvaluationReport, write_evaluation
from medfuse.reporting import compose, read_artifacts, render_standard
from tests.report_parts import CHECKPOINT


def test_what_a_run_holds(run: Path) -> None:
    artifacts = read_artifacts(run, run.parent / "evaluation.json")
    assert (artifacts.name, artifacts.folds, artifacts.evaluation_name) == ("small", 0, "evaluation.json")
    assert artifacts.at("recipe.size") == [16, 16, 8]
    assert artifacts.at("recipe.size.depth") is None
    assert artifacts.splits.studies == {"train": 8, "validation": 1, "test": 12}
    assert artifacts.splits.shared == 0
    assert artifacts.losses["train/total"] == ((0, 2.5), (1, 1.5))
    assert artifacts.losses["validation/total"] == ((1, 1.8),)
    assert "validation/auroc" not in artifacts.losses  # not a number


def test_a_run_without_an_evaluation_and_losses(run: Path) -> None:
    (run / "losses.csv").unlink()
    artifacts = read_artifacts(run)
    assert artifacts.evaluation is None
    assert artifacts.losses == {}


def test_patients_in_two_splits_are_counted(run: Path) -> None:
    table = (run / "splits.csv").read_text()
    (run / "splits.csv").write_text(table + "8.99,p000,train\n")
    assert read_artifacts(run).splits.shared == 1


def test_an_evaluation_of_another_model_is_refused(run: Path, evaluation: EvaluationReport) -> None:
    assert evaluation.model is not None
    other = replace(evaluation, model=replace(evaluation.model, weights_sha256="99" * 32))
    write_evaluation(other, run.parent / "other.json")
    with pytest.raises(UsageError, match=r"other\.json is of weights 999999999999, the run has weights abababababab"):
        read_artifacts(run, run.parent / "other.json")
    write_evaluation(replace(evaluation, model=None), run.parent / "none.json")
    with pytest.raises(UsageError, match="is of no model"):
        read_artifacts(run, run.parent / "none.json")


def test_folds_are_known_by_their_common_hash(run: Path, evaluation: EvaluationReport) -> None:
    from medfuse.inference.ensemble import combined_identity  # loads torch

    folds, members = run.parent / "folds", []
    for fold, weights in enumerate(("11" * 32, "22" * 32)):
        shutil.copytree(run, folds / f"fold-{fold}")
        told = CHECKPOINT | {"weights_sha256": weights}
        (folds / f"fold-{fold}/best/checkpoint.json").write_text(json.dumps(told))
        members.append(
            ModelIdentity(name="small", version="0.1.0", weights_sha256=weights, config_sha256=told["config_sha256"])
        )
    (folds / "folds.json").write_text('{"folds": 2}')
    write_evaluation(replace(evaluation, model=combined_identity(members)), run.parent / "pooled.json")
    artifacts = read_artifacts(folds, run.parent / "pooled.json")
    assert (artifacts.folds, artifacts.file("splits.csv")) == (2, "fold-0/splits.csv")
    text = render_standard("claim", artifacts)
    assert "each of 2 folds is the test set once" in text
    assert "scored by the fold that left it out" in text
    assert text.count("These values are of the first fold.") > 3
    assert compose(artifacts).stamps["folds"] == 2
    with pytest.raises(UsageError, match="is of weights"):
        read_artifacts(folds, run.parent / "evaluation.json")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"folds": "x"}'])
def test_a_broken_list_of_folds_is_refused(run: Path, content: str) -> None:
    (run / "folds.json").write_text(content)
    with pytest.raises(CheckpointError):
        read_artifacts(run)


@pytest.mark.parametrize("name", ["best/checkpoint.json", "config.yaml", "losses.csv", "splits.csv"])
def test_a_broken_file_is_named(run: Path, name: str) -> None:
    (run / name).write_bytes(b"epoch\n{\xff: [")
    with pytest.raises(UsageError, match=Path(name).name):
        read_artifacts(run)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="RUN is a folder that medfuse train wrote"):
        read_artifacts(tmp_path)
