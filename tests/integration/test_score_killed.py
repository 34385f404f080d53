"""Scoring that is killed with SIGKILL at random moments ends with exactly the results of one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medfuse.batch import Ledger, State
from medfuse.errors import MedfuseError
from medfuse.outputs import ScoreRow, read_scores
from tests.unit.batch import stand_in

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
STUDIES = 30
IN_FLIGHT = 4
"""At most so many studies are in hand: one a stage, and one that is read ahead."""


def start(checkout: Path, studies: Path, output: Path, number: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.integration.score_stand_in", studies, output, str(number), "0.02"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    return subprocess.Popen(command, cwd=checkout, env=one_thread, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said.decode()


def content(output: Path) -> dict[str, Any]:
    """The results without what follows from the time."""
    found = {}
    for path in sorted(output.glob("*/prediction.json")):
        document = json.loads(path.read_text())
        for key in ("created_at", "timings"):
            document.pop(key, None)
        found[path.parent.name] = document
    return found


def rows_of(output: Path) -> dict[str, ScoreRow]:
    """The table without what follows from the time."""
    return {row.study_instance_uid: replace(row, seconds={}) for row in read_scores(output / "scores.csv")}


def finished(output: Path) -> int:
    try:
        with Ledger(output / "ledger.sqlite", read_only=True) as ledger:
            return ledger.counts()[State.SCORED]
    except MedfuseError:
        return 0


def kill_at_random(process: subprocess.Popen[bytes], output: Path, moment: random.Random) -> None:
    """Kill the process some studies after it began to score, at any place of a study."""
    goal = finished(output) + moment.randint(1, 5)
    until = time.monotonic() + 100
    while finished(output) < goal and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(moment.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    process.communicate()


def killed_equals_undisturbed(checkout: Path, tmp_path: Path, number: int, kills: int) -> None:
    studies, whole, cut = (tmp_path / name for name in ("studies", "whole", "cut"))
    studies.mkdir()
    for n in range(1, number + 1):
        stand_in.study(studies, n)
    finish(start(checkout, studies, whole, number))
    moment = random.Random(0)
    for _ in range(kills):
        kill_at_random(start(checkout, studies, cut, number), cut, moment)
    finish(start(checkout, studies, cut, number))

    assert content(cut) == content(whole)
    assert len(content(cut)) == number
    assert rows_of(cut) == rows_of(whole)
    assert len((cut / "scores.csv").read_text().splitlines()) == number + 1
    with Ledger(cut / "ledger.sqlite", read_only=True) as ledger:
        ledger_rows = list(ledger.rows())
    assert [row.state for row in ledger_rows] == [State.SCORED] * number
    assert [row.results for row in ledger_rows] == [1] * number
    assert sum(row.attempts - 1 for row in ledger_rows) <= kills * IN_FLIGHT
    assert not list(cut.glob(".*"))


def test_a_few_kills(checkout: Path, tmp_path: Path) -> None:
    killed_equals_undisturbed(checkout, tmp_path, STUDIES, 3)


@pytest.mark.slow
def test_thirty_kills(checkout: Path, tmp_path: Path) -> None:
    killed_equals_undisturbed(checkout, tmp_path, 100, 30)


def test_ctrl_c_ends_at_once_and_the_run_goes_on(checkout: Path, tmp_path: Path) -> None:
    studies, output = tmp_path / "studies", tmp_path / "out"
    studies.mkdir()
    process = start(checkout, studies, output, STUDIES)
    until = time.monotonic() + 100
    while finished(output) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode in (1, -signal.SIGINT)
    assert said.decode().count("Traceback") == 1
    with Ledger(output / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.counts()[State.RUNNING] == 0
        assert all(row.attempts == (row.state is State.SCORED) for row in ledger.rows())
    assert not list(output.glob(".*"))
