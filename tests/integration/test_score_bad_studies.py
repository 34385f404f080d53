"""Studies that are cut off, absurd, empty, of another modality, or that kill what reads them stop no other one."""

import sqlite3
from pathlib import Path

import pytest

from medfuse.cli.main import main
from medfuse.outputs import read_prediction, read_scores
from tests.integration import bad_studies
from tests.integration.score_parts import write_checkpoint


def medfuse(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "run")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_seven_bad_studies_have_seven_reasons(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    studies, output = bad_studies.write_studies(tmp_path / "studies"), tmp_path / "results"
    monkeypatch.setattr("medfuse.batch.stages.reading_stage", bad_studies.reading_stage)
    protected = output / bad_studies.uid_of("protected")
    protected.mkdir(parents=True)
    protected.chmod(0o555)
    command = ("score", checkpoint, studies, "--output", output, "--study-seconds", 8)
    command += ("--engine", "pytorch", "--precision", "fp32", "--outputs", "nifti,dicom_seg")
    try:
        assert medfuse(*command) == 1
    finally:
        protected.chmod(0o755)
    rows = {row.study_instance_uid: row for row in read_scores(output / "scores.csv")}
    assert {name: rows[bad_studies.uid_of(name)].reason for name in bad_studies.EXPECTED} == bad_studies.EXPECTED
    assert [rows[bad_studies.uid_of(name)].status for name in bad_studies.GOOD] == ["scored"] * len(bad_studies.GOOD)
    for name in bad_studies.GOOD:
        prediction = read_prediction(output / bad_studies.uid_of(name) / "prediction.json")
        assert set(prediction.timings) >= {"read", "preprocess", "network", "restore"}
    assert rows[""].reason == bad_studies.EMPTY_REASON
    assert len(rows) == len(bad_studies.GOOD) + len(bad_studies.EXPECTED) + 1
    with sqlite3.connect(output / "ledger.sqlite") as database:
        assert set(database.execute("SELECT attempts, results FROM studies WHERE state = 'scored'")) == {(1, 1)}
    database.close()
    said = capsys.readouterr()
    assert "Planted" not in said.err + said.out

    assert medfuse("score", "--status", output) == 0
    table = capsys.readouterr().out
    assert all(reason in table for reason in bad_studies.EXPECTED.values())
    monkeypatch.undo()
    assert medfuse(*command, "--retry", "TIME_LIMIT", "--retry", "OUTPUT_NOT_WRITABLE") == 1
    assert "5 of them before; --retry rejected tries them again" in " ".join(capsys.readouterr().err.split())
    rows = {row.study_instance_uid: row for row in read_scores(output / "scores.csv")}
    assert rows[bad_studies.uid_of("hangs")].status == rows[bad_studies.uid_of("protected")].status == "scored"
    assert rows[bad_studies.uid_of("crashes")].reason == "WORKER_CRASHED"


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that score take one core each."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
