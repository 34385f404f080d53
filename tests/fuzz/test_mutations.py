"""Thousands of mutated files: no crash, no hang, no memory beyond reason, and every refusal typed.

`MEDFUSE_FUZZ_FILES` sets the number of files of the slow run (10,000), `MEDFUSE_FUZZ_FIRST` the first seed.
A failing case is named by its number: `python tests/fuzz/child.py SEEDS WORK NUMBER NUMBER+1 1` runs it again.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.corpus import make_seeds

CHILD = Path(__file__).with_name("child.py")
MOST_GROWTH = 300 * 2**20
"""Bytes by which a case may grow the process: three times the honest volume (100 kB) and what codecs keep."""
MOST_CRASHES = 20

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one child made of its share of the cases."""

    results: list[dict[str, Any]]
    crashes: list[str]


class Share:
    """Every `step`-th case from `first`, read by one process after another: a new one follows each crash."""

    def __init__(self, seeds: Path, work: Path, first: int, last: int, step: int) -> None:
        self._seeds, self._work, self._first, self._last, self._step = seeds, work, first, last, step
        self._process: subprocess.Popen[bytes] | None = None
        self.crashes: list[str] = []
        work.mkdir()

    def start(self) -> None:
        command = [sys.executable, "-W", "ignore", str(CHILD), str(self._seeds), str(self._work)]
        numbers = map(str, (self._first, self._last, self._step))
        self._errors = (self._work / "errors").open("wb")
        (self._work / "current").write_text("before the first")
        self._process = subprocess.Popen([*command, *numbers], stdout=self._errors, stderr=self._errors)

    def finish(self) -> Run:
        while self._process is not None:
            code = self._process.wait()
            self._errors.close()
            current = (self._work / "current").read_text()
            if code == 0 and current == "done":
                break
            said = (self._work / "errors").read_text(errors="replace")[:2500]
            self.crashes.append(f"case {current} ended the process with {code}:\n{said}")
            if len(self.crashes) >= MOST_CRASHES or not current.isdigit():
                break
            self._first = int(current) + self._step
            if self._first >= self._last:
                break
            self.start()
        lines = (self._work / "results").read_text().splitlines() if (self._work / "results").exists() else []
        return Run(results=[json.loads(line) for line in lines], crashes=self.crashes)


def run_cases(folder: Path, count: int, first: int, processes: int) -> list[Run]:
    make_seeds(folder / "seeds")
    shares = [
        Share(folder / "seeds", folder / f"work{n}", first + n, first + count, processes) for n in range(processes)
    ]
    for share in shares:
        share.start()
    return [share.finish() for share in shares]


def check(runs: list[Run], count: int, capsys: pytest.CaptureFixture[str]) -> None:
    results = [result for run in runs for result in run.results]
    crashes = [crash for run in runs for crash in run.crashes]
    failures = [f"case {r['number']} ({r['seed']}, {r['mutation']}):\n{r['failure']}" for r in results if r["failure"]]
    grown = [r for r in results if r["grown"] > MOST_GROWTH]
    said = Counter(word for result in results for word in {line.split(" (")[0] for line in result["said"]})
    slowest = max(results, key=lambda result: result["seconds"], default=None)
    with capsys.disabled():
        most = max((result["grown"] for result in results), default=0) // 2**20
        sys.stdout.write(
            f"\nfuzz: {len(results)} mutated files read, {len(crashes)} crashes, {len(failures)} untyped errors, "
            f"most memory {most} MiB, slowest {slowest and slowest['seconds']} s; {dict(said.most_common(40))}\n"
        )
    assert not crashes, "\n\n".join(crashes[:5])
    assert not failures, f"{len(failures)} untyped errors:\n" + "\n\n".join(failures[:8])
    assert not grown, [(r["number"], r["seed"], r["mutation"], r["grown"] // 2**20) for r in grown[:10]]
    assert len(results) == count
    assert said["volume"] > count / 20, "next to nothing was read: the mutations destroy too much to test anything"


def test_a_few_hundred_mutated_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(run_cases(tmp_path, 300, 0, 1), 300, capsys)


@pytest.mark.slow
@pytest.mark.timeout(1400)
def test_ten_thousand_mutated_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = int(os.environ.get("MEDFUSE_FUZZ_FILES", "10000"))
    first = int(os.environ.get("MEDFUSE_FUZZ_FIRST", "1000000"))
    check(run_cases(tmp_path, count, first, 2), count, capsys)
