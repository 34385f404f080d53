"""`medfuse score` on a real archive's answer to a query: fetched, scored, dropped, and not done twice."""

import os
import tempfile
from pathlib import Path

import pytest

from medfuse.cli.main import main
from medfuse.outputs import read_scores
from tests.integration.score_parts import write_checkpoint
from tests.network.conftest import Orthanc
from tests.network.studies import BIG, CHEST, HEAD

PLAIN = ("--one-process", "--engine", "pytorch", "--precision", "fp32", "--outputs", "nifti,dicom_seg")


def medfuse(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_a_query_is_scored_and_leaves_nothing_behind(
    orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    temporary, output = tmp_path / "temporary", tmp_path / "out"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(temporary))
    checkpoint = write_checkpoint(tmp_path / "run")
    servers = tmp_path / "pacs.yaml"
    servers.write_text(f"hospital:\n  kind: dicomweb\n  url: {orthanc.url}\n")
    command = ("score", checkpoint, f"{orthanc.url}/studies?StudyDate=20231201-20241231", "--output", output, *PLAIN)
    assert medfuse(*command) == 1
    rows = {row.study_instance_uid: row.reason or row.status for row in read_scores(output / "scores.csv")}
    assert rows == {CHEST: "scored", BIG: "scored", HEAD: "NO_FITTING_SERIES"}
    assert (output / BIG / "seg.dcm").is_file()
    assert list(temporary.iterdir()) == []
    capsys.readouterr()

    named = ("score", checkpoint, "hospital?StudyDate=20231201-20241231", "--servers", servers, "--output", output)
    assert medfuse(*named, *PLAIN) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "2 already scored by this model" in said
    assert not any(word in said for word in ("Geheim", "Secret", "PID-"))
