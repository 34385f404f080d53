"""`medfuse review`: wrong use is said before anything starts; the server answers, and Ctrl-C ends it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medfuse.cli.main import main
from medfuse.cli.review import command_of, environment_of
from medfuse.domain import LabelSet, Rejected
from medfuse.outputs import ScoreTable

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


def test_a_folder_without_results_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no scores.csv" in refusal(str(tmp_path), capsys=capsys)
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
