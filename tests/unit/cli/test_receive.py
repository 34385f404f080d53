"""What `medfuse receive` does with a finished study: scores it, or says why not."""

from pathlib import Path

import pytest

from medfuse.cli.receive import scorer
from medfuse.domain import Scored, Study
from medfuse.errors import MissingInputError
from medfuse.inference import Predictor
from medfuse.outputs import read_scores
from tests.network.studies import ROOT, instance
from tests.unit.outputs import cases

STUDY = f"{ROOT}.97"


class StandIn:
    """A model that knows one study."""

    identity = cases.MODEL
    label_set = cases.LABELS
    is_ensemble = False

    def predict(self, study: Study) -> Scored:
        if study.study_instance_uid != STUDY:
            raise MissingInputError("no series fits")
        return cases.scored(STUDY)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where a model was loaded from, each time."""
    loaded: list[Path] = []

    def load(path: Path, *, device: str) -> StandIn:
        loaded.append(path)
        return StandIn()

    monkeypatch.setattr(Predictor, "from_checkpoint", load)
    return loaded


def write_study(folder: Path, uid: str) -> Path:
    folder.mkdir()
    for number in range(3):
        (folder / str(number)).write_bytes(instance(uid, 1, number)[1])
    return folder


def test_finished_studies_are_scored_by_a_model_that_is_loaded_once(tmp_path: Path, loads: list[Path]) -> None:
    score = scorer(tmp_path / "run", tmp_path / "out", "cpu")
    assert loads == []
    score(STUDY, write_study(tmp_path / "a", STUDY))
    score(f"{ROOT}.98", write_study(tmp_path / "b", f"{ROOT}.98"))
    score(STUDY, tmp_path / "a")
    assert loads == [tmp_path / "run"]
    rows = {row.study_instance_uid: (row.status, row.reason) for row in read_scores(tmp_path / "out" / "scores.csv")}
    assert rows == {STUDY: ("scored", ""), f"{ROOT}.98": ("rejected", "MISSING_INPUT")}
    assert (tmp_path / "out" / STUDY / "prediction.json").is_file()
    assert "a" in (tmp_path / "out" / "sources.json").read_text()


def test_a_study_without_images_is_a_row_with_its_reason(tmp_path: Path, loads: list[Path]) -> None:
    (tmp_path / "empty").mkdir()
    scorer(tmp_path / "run", tmp_path / "out", "cpu")(STUDY, tmp_path / "empty")
    (row,) = read_scores(tmp_path / "out" / "scores.csv")
    assert (row.study_instance_uid, row.status, row.reason) == (STUDY, "rejected", "MISSING_INPUT")


def test_a_study_that_nobody_foresaw_does_not_end_the_service(
    tmp_path: Path, loads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise ValueError("Secret^Sam")

    monkeypatch.setattr("medfuse.ingest.find_studies", fail)
    scorer(tmp_path / "run", tmp_path / "out", "cpu")(STUDY, tmp_path)
    (row,) = read_scores(tmp_path / "out" / "scores.csv")
    assert row.reason == "UNEXPECTED_ERROR"
    assert "Secret" not in (tmp_path / "out" / "scores.csv").read_text()
