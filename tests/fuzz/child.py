"""Reads mutated files in a process of its own, so that a crash of a codec is seen and ends nothing else.

Usage: child.py SEEDS WORK FIRST LAST STEP. One JSON line a case goes to `WORK/results`; the number of the case in
progress stands in `WORK/current`. The number alone decides the seed file and the mutation.
"""

import faulthandler
import json
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from medfuse.domain import Segmentation, Volume
from medfuse.errors import StudyError, UsageError
from medfuse.ingest import find_studies, read_segmentation, read_volume, source_datasets
from tests.fuzz.mutate import Parsed, mutate, parse

SECONDS_A_FILE = 20
ADDRESS_SPACE = 2 * 2**30
"""Bytes that one case may claim beyond what the process has; no honest volume here is larger than 100 kB."""


def read_everything(folder: Path, cache: Path | None = None) -> list[str]:
    """Index a folder and read all that it holds; returns what became of it.

    With a cache, the index must be the same when it is read anew, written to the cache, and taken from there.
    """
    try:
        found = find_studies(folder, cache=None)
    except UsageError as error:
        return [f"usage {type(error).__name__}"]
    if cache is not None and not found == find_studies(folder, cache=cache) == find_studies(folder, cache=cache):
        raise AssertionError("the cache gives another index than the files")
    lines = [line for study in found.studies for line in study.problems]
    said = [f"problem {line.split(':')[0]}" for line in lines]
    said += [f"rejected {rejected.reason}" for rejected in found.rejected]
    if any("MemoryError" in line for line in [*lines, *(rejected.detail for rejected in found.rejected)]):
        raise AssertionError("memory was asked for while indexing")
    for study in found.studies:
        volumes = []
        for series in study.series:
            with outcome_in(said):
                volumes.append(read_volume(series))
                check_volume(volumes[-1])
                said.append("volume")
            with outcome_in(said):
                source_datasets(series)
        for path in study.segmentations:
            for volume in volumes[:1]:
                with outcome_in(said):
                    check_segmentation(read_segmentation(path, volume.geometry), volume)
                    said.append("segmentation")
    return said


class outcome_in:  # noqa: N801
    """Note a typed refusal; everything else goes on as the failure that it is."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, _: Any) -> bool:
        if not isinstance(error, StudyError):
            return False
        if any(isinstance(cause, MemoryError) for cause in causes(error)):
            return False
        self._said.append(f"refused {error.reason}")
        return True


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def check_volume(volume: Volume) -> None:
    """What holds of every volume, whatever the file was."""
    if not np.isfinite(volume.voxels).all():
        raise AssertionError("a volume has voxels that are not finite")
    if not np.isfinite(volume.geometry.affine.matrix).all():
        raise AssertionError("a volume has an affine that is not finite")


def check_segmentation(segmentation: Segmentation, volume: Volume) -> None:
    """A segmentation lies on the grid that was asked for."""
    if segmentation.geometry.shape != volume.geometry.shape:
        raise AssertionError("a segmentation has another shape than its volume")


def peak_bytes(*, reset: bool = False) -> int:
    """The most memory that the process has held since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def claimed_bytes() -> int:
    """Address space in use."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def prepare(seed: Path, case: Path) -> Path:
    """A fresh copy of a seed's folder; returns the file to mutate."""
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(seed, case)
    return sorted(case.iterdir())[0]


def run_case(number: int, seeds: list[Path], parsed: dict[Path, Parsed], case: Path) -> dict[str, Any]:
    """Mutate, read, and say what happened."""
    rng = random.Random(number)
    seed = seeds[number % len(seeds)]
    target = prepare(seed, case)
    name, data = mutate(parsed[seed], rng)
    if rng.random() < 0.15:
        second, data = mutate(parsed[seed], rng) if not data else (name, data)
        name = f"{name} {second}" if second != name else name
    target.write_bytes(data)
    before = peak_bytes(reset=True)
    started = time.perf_counter()
    faulthandler.dump_traceback_later(SECONDS_A_FILE, exit=True)
    failure = ""
    said: list[str] = []
    try:
        said = read_everything(case, case.parent / "cache" if number % 4 == 0 else None)
    except BaseException as error:  # noqa: BLE001
        import traceback

        failure = "".join(traceback.format_exception(error))[-3000:]
    faulthandler.cancel_dump_traceback_later()
    return {
        "number": number,
        "seed": seed.name,
        "mutation": name,
        "said": said,
        "failure": failure,
        "seconds": round(time.perf_counter() - started, 4),
        "grown": peak_bytes() - before,
    }


def main() -> None:
    """Run the cases FIRST, FIRST + STEP, ... below LAST."""
    root, work = Path(sys.argv[1]), Path(sys.argv[2])
    first, last, step = map(int, sys.argv[3:6])
    faulthandler.enable()
    os.environ["OMP_NUM_THREADS"] = "1"
    seeds = sorted(root.iterdir())
    parsed = {seed: parse(sorted(seed.iterdir())[0].read_bytes()) for seed in seeds}
    for seed in seeds:  # imports and caches are no part of any case
        prepare(seed, work / "case")
        read_everything(work / "case")
    limit = claimed_bytes() + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with (work / "results").open("a") as results:
        for number in range(first, last, step):
            (work / "current").write_text(str(number))
            results.write(json.dumps(run_case(number, seeds, parsed, work / "case")) + "\n")
            results.flush()
    (work / "current").write_text("done")


if __name__ == "__main__":
    main()
