"""What `medfuse receive` does with a finished study: scores it, or says why not."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medfuse.batch import ModelFacts
from medfuse.batch.stages import AnsweredStudy, ReadingTask
from medfuse.cli.receive import StudyScorer
from medfuse.errors import MissingInputError, StorageError
from medfuse.outputs import read_scores
from tests.network.studies import ROOT, instance
from tests.unit.batch import stand_in
from tests.unit.outputs import cases

STUDY = f"{ROOT}.97"
LOADED: list[str] = []


def reading() -> tuple[Any, None]:
    """The stage that passes a study on."""
    return (lambda task: task), None


def network() -> tuple[Any, ModelFacts]:
    """A model that knows one study."""
    LOADED.append("model")
    _, facts = stand_in.network()

    def answer(task: ReadingTask) -> AnsweredStudy:
        if task.study.study_instance_uid != STUDY:
            raise MissingInputError("no series fits")
        return AnsweredStudy(study=task.study, scored=cases.scored(STUDY))

    return answer, dataclasses.replace(facts, label_set=cases.LABELS)


@pytest.fixture
def score(tmp_path: Path) -> Iterator[StudyScorer]:
    """Scores into `out`, in this process."""
    LOADED.clear()
    stages = dataclasses.replace(
        stand_in.factories(tmp_path / "out"),
        reading=reading,
        network=network,
        writing=functools.partial(stand_in.plain_writing, tmp_path / "out"),
    )
    with StudyScorer(stages, tmp_path / "out", is_isolated=False) as scorer:
        yield scorer


def rows_of(folder: Path) -> dict[str, tuple[str, str]]:
    return {row.study_instance_uid: (row.status, row.reason) for row in read_scores(folder / "scores.csv")}


def write_study(folder: Path, uid: str) -> Path:
    folder.mkdir()
    for number in range(3):
        (folder / str(number)).write_bytes(instance(uid, 1, number)[1])
    return folder


def test_finished_studies_are_scored_by_a_model_that_is_loaded_once(tmp_path: Path, score: StudyScorer) -> None:
    assert LOADED == []
    score(STUDY, write_study(tmp_path / "a", STUDY))
    score(f"{ROOT}.98", write_study(tmp_path / "b", f"{ROOT}.98"))
    score(STUDY, tmp_path / "a")
    assert LOADED == ["model"]
    assert rows_of(tmp_path / "out") == {STUDY: ("scored", ""), f"{ROOT}.98": ("rejected", "MISSING_INPUT")}
    assert (tmp_path / "out" / STUDY / "prediction.json").is_file()
    assert "a" in (tmp_path / "out" / "sources.json").read_text()


def test_a_new_version_of_a_study_is_scored_again(tmp_path: Path, score: StudyScorer) -> None:
    folder = write_study(tmp_path / "a", STUDY)
    score(STUDY, folder)
    result = tmp_path / "out" / STUDY / "prediction.json"
    first = result.stat().st_ino
    score(STUDY, folder)
    assert result.stat().st_ino == first
    (folder / "3").write_bytes(instance(STUDY, 1, 3)[1])
    score(STUDY, folder)
    assert result.stat().st_ino != first


def test_a_study_without_images_is_a_row_with_its_reason(tmp_path: Path, score: StudyScorer) -> None:
    (tmp_path / "empty").mkdir()
    score(STUDY, tmp_path / "empty")
    assert rows_of(tmp_path / "out") == {STUDY: ("rejected", "MISSING_INPUT")}


def test_a_study_that_nobody_foresaw_does_not_end_the_service(
    tmp_path: Path, score: StudyScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise ValueError("Secret^Sam")

    monkeypatch.setattr("medfuse.batch.sources.find_studies", fail)
    score(STUDY, tmp_path)
    assert rows_of(tmp_path / "out") == {STUDY: ("rejected", "UNEXPECTED_ERROR")}


def test_a_full_disk_is_told_and_the_folder_is_opened_anew(
    tmp_path: Path, score: StudyScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_study(tmp_path / "a", STUDY)

    def full(*given: object) -> None:
        raise StorageError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("medfuse.batch.write_sources", full)
        with pytest.raises(StorageError):
            score(STUDY, folder)
    score(STUDY, folder)
    assert rows_of(tmp_path / "out") == {STUDY: ("scored", "")}
    assert len(LOADED) == 2
