"""`medfuse review`: wrong use is said before anything starts; the server answers, and Ctrl-C ends it."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from medfuse.cli.main import main
from medfuse.cli.review import command_of, environment_of
from medfuse.domain import LabelSet, Rejected, Subject, SubjectKind, Verdict
from medfuse.outputs import ScoreTable
from medfuse.review import local_reader, open_room
from tests.unit.review.rooms import write_studies

START_SECONDS = 120


@pytest.fixture
def results(tmp_path: Path) -> Path:
    with ScoreTable(tmp_path / "scores.csv", LabelSet(findings=("nodule",))) as table:
        table.append(Rejected(study_instance_uid="1.2", accession_number="A", reason="MIXED_PATIENTS", detail="two"))
    return tmp_path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(results: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "medfuse.cli.main", "review", str(results), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and its children with it; a terminal's does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def answer(url: str, process: subprocess.Popen[str]) -> str:
    """What `url` answers, as soon as there is an answer."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - an http URL of ours
                return str(response.read().decode())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    pytest.fail(f"{url} does not answer")


def refusal(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["review", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_folder_with_nothing_to_review_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is empty; expected a folder with DICOM or NIfTI files" in refusal(str(tmp_path), capsys=capsys)
    assert "is not a folder" in refusal(str(tmp_path / "absent"), capsys=capsys)


def test_a_broken_table_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scores.csv").write_text("a,b\n1,2\n")
    assert "no score table" in refusal(str(tmp_path), capsys=capsys)


def test_a_taken_port_is_wrong_use(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        message = refusal(str(results), "--port", str(port), capsys=capsys)
    assert f"port {port}" in message
    assert "--port" in message


def test_the_server_stays_on_this_machine_and_reports_nothing() -> None:
    command = command_of(8501, "127.0.0.1")
    for flag in ("--server.address=127.0.0.1", "--browser.gatherUsageStats=false", "--server.headless=true"):
        assert flag in command
    assert Path(command[4]).parts[-3:] == ("apps", "viewer", "app.py")
    assert Path(command[4]).is_file()


def test_the_app_finds_its_packages_and_the_results(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    environment = environment_of(results)
    root, rest = environment["PYTHONPATH"].split(os.pathsep)
    assert (Path(root) / "apps" / "viewer" / "app.py").is_file()
    assert rest == "elsewhere"
    assert environment["MEDFUSE_REVIEW_DIR"] == str(results.resolve())
    assert {environment[f"MEDFUSE_REVIEW_{name}"] for name in ("DECISIONS", "DATABASE", "USERS", "BLIND")} == {""}
    told = environment_of(results, decisions=results, database="sqlite://", users=results / "u.yaml", blind=True)
    assert told["MEDFUSE_REVIEW_DECISIONS"] == str(results.resolve())
    assert (told["MEDFUSE_REVIEW_DATABASE"], told["MEDFUSE_REVIEW_BLIND"]) == ("sqlite://", "1")
    assert told["MEDFUSE_REVIEW_USERS"] == str((results / "u.yaml").resolve())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--export", "csv"], "--export csv needs --output: the file"),
        (["--export", "sr"], "--export sr needs --output: the folder"),
        (["--unsigned"], "--unsigned goes with --export-labels"),
        (["--users", "users.yaml"], "--users and --login go together"),
        (["--login", "absent.toml", "--users", "users.yaml"], "absent.toml does not exist"),
        (["--export", "csv", "--output", "x.csv", "--users", "absent.yaml"], "cannot read absent.yaml"),
        (["--findings", "absent.yaml"], "absent.yaml"),
        (["--export-labels", "x.csv"], "nobody has decided anything yet"),
        (["--database", "mysql://host/reviews"], "use PostgreSQL"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_use(
    results: Path, options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refusal(str(results), *options, capsys=capsys).replace("\n", " ")


def decided(results: Path) -> None:
    """Two decisions of which one is signed off, on a study without a result."""
    room = open_room(results)
    room.refresh()
    desk = room.desk(local_reader("Dr. Ames"))
    (row,) = desk.page().rows
    desk.decide(row.handle, Subject(kind=SubjectKind.FINDING, name="nodule"), None, value="PRESENT")
    desk.sign_off(row.handle)
    room.close()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_what_was_decided_is_written_as_files(
    results: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    decided(results)
    out = tmp_path_factory.mktemp("out")
    for kind, name, said, code in (
        ("csv", "reviews.csv", "1 decision.", 0),
        ("fhir", "reviews.json", "1 report.", 0),
        ("sr", "sr", "0 documents.", 1),
    ):
        assert run("review", str(results), "--export", kind, "--output", str(out / name)) == code
        assert said in capsys.readouterr().out
    assert "Dr. Ames" in (out / "reviews.csv").read_text()
    assert '"final"' in (out / "reviews.json").read_text()


def test_findings_of_a_model_are_looked_for_by_all_their_names(tmp_path: Path) -> None:
    with ScoreTable(tmp_path / "scores.csv", LabelSet(findings=("nodule", "my_own"))) as table:
        table.append(Rejected(study_instance_uid="1.2", accession_number="A", reason="MIXED_PATIENTS", detail="two"))
    assert run("review", str(tmp_path), "--export", "csv", "--output", str(tmp_path / "out.csv")) == 0
    lexicon = open_room(tmp_path).lexicon
    assert lexicon is not None
    assert len(lexicon.findings["nodule"].terms) > 1
    assert lexicon.findings["my_own"].terms == {"en": ("my own",)}


def test_an_audit_finds_the_first_row_that_was_changed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decided(results)
    assert run("audit", str(results)) == 0
    said = capsys.readouterr().out
    assert "2 rows, every one as it was kept" in said
    head = said.split()[-1]
    assert run("audit", str(results / "reviews.sqlite"), "--head", head) == 0
    assert run("audit", str(results), "--head", "ab" * 32) == 1
    assert "does not hold the hash" in capsys.readouterr().err
    connection = sqlite3.connect(results / "reviews.sqlite")
    connection.execute("DROP TRIGGER decisions_no_update")
    connection.execute("UPDATE decisions SET value = 'ABSENT' WHERE number = 1")
    connection.commit()
    connection.close()
    assert run("audit", str(results)) == 1
    errors = capsys.readouterr().err
    assert "BROKEN at row 1: its content is not what was kept." in errors
    assert "triggers that refuse changes are gone" in errors


def test_an_audit_finds_a_corrected_segmentation_that_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = open_room(write_studies(tmp_path / "studies", n=1))
    room.refresh()
    desk = room.desk(local_reader("Dr. Ames"))
    handle = desk.page().rows[0].handle
    key = desk.case(handle).study().series[0].key
    mask = desk.save_segmentation(handle, np.zeros((6, 5, 4), dtype=np.uint8), key, ())
    desk.decide(handle, Subject(kind=SubjectKind.SEGMENT, name="segment_1"), Verdict.REJECTED, mask=mask)
    room.close()
    assert run("audit", str(tmp_path / "studies")) == 0
    room.masks.path(mask).write_bytes(b"something else")
    assert run("audit", str(tmp_path / "studies.review")) == 1
    assert f"{mask} is missing or changed" in capsys.readouterr().err.replace("\n", " ")


def test_an_audit_of_nothing_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("audit", str(tmp_path / "absent")) == 2
    assert run("audit", str(tmp_path)) == 2
    assert "no decision was kept there yet" in capsys.readouterr().err
    (tmp_path / "reviews.sqlite").write_text("no database " * 100)
    assert run("audit", str(tmp_path)) == 2


def test_reviewing_studies_keeps_decisions_beside_them_and_a_lexicon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_studies(tmp_path / "studies", n=1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        options = ("--findings", "configs/labels/chest_ct.yaml", "--port", port)
        assert run("review", str(folder), *options) == 2
    assert "choose another with --port" in capsys.readouterr().err
    room = open_room(tmp_path / "studies.review")
    assert room.place == folder
    assert room.findings


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_it_serves_until_ctrl_c(results: Path) -> None:
    port = free_port()
    with running(results, port) as process:
        assert answer(f"http://127.0.0.1:{port}/_stcore/health", process) == "ok"
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"1 study. Open http://127.0.0.1:{port}" in output.replace("\n", " ")
    assert errors.splitlines()[-1] == "interrupted"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=2)
