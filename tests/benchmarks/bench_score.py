"""What batch scoring costs and survives: a study in a short and in a long run, and `kill -9` at random moments.

    python tests/benchmarks/bench_score.py [--part cost] [--part kill] [--part large] [--checkpoint RUN] [--json FILE]

Both parts score the hippocampus studies of the shared data, copied under UIDs of their own as often as it takes, by the
command line itself. Without --checkpoint the network has random weights and the size of the hippocampus config's.

`cost`: runs of 10 and of 1,000 studies. A study's cost is the wall time between the first and the last outcome, over
the studies between them, so that loading the model is no part of it; the memory is the largest sum over all processes
of the run (proportional set size, which counts a shared page once). Targets: the same cost, the same memory.

`kill`: a run of 100 studies is killed by SIGKILL 30 times, half of them at a moment of the loading or the scoring drawn
evenly, half of them some studies after the first new result; then it runs to its end. Its results are compared with
those of an undisturbed run. Target: exactly 100, equal but for times and the UIDs that follow from them, none written
twice.

`large`: one CT of 512x512x1,000 voxels on a grid of 1.5 mm, by a small network. Target: at most 8 GiB, all processes
together.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import pydicom
from rich.console import Console
from rich.table import Table

CHECKOUT = Path(__file__).resolve().parents[2]
SHORT, LONG = 10, 1000
KILLED, KILLS = 100, 30
LARGE_GIB = 8.0
_SAMPLE_S = 0.5
_FROM_TIME = ("created_at", "timings")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure with what it should be."""

    part: str
    what: str
    found: str
    target: str
    is_met: bool


def main() -> None:
    """Run the parts that were asked for, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--part", choices=PARTS, action="append", help="run only this part (may be repeated)")
    parser.add_argument("--checkpoint", type=Path, help="a run; a network of random weights when left out")
    parser.add_argument("--data", type=Path, default=CHECKOUT.parent / "shared" / "data" / "hippocampus" / "dicom")
    parser.add_argument("--long", type=int, default=LONG, help="studies of the long run")
    parser.add_argument("--studies", type=int, default=KILLED, help="studies of the killed run")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--slices", type=int, default=1000, help="slices of the large CT")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-score-") as name:
        folder = Path(name)
        if arguments.checkpoint is None:
            arguments.checkpoint = random_checkpoint(folder / "run")
        for part in arguments.part or list(PARTS):
            rows += PARTS[part](folder, arguments)
    show(rows)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def bench_cost(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    """A short and a long run."""
    long = write_copies(arguments.data, folder / "long", arguments.long)
    short = folder / "short"
    for place in sorted(long.iterdir())[:SHORT]:
        shutil.copytree(place, short / place.name)
    costs: list[float] = []
    memories: list[float] = []
    for n, studies in ((SHORT, short), (arguments.long, long)):
        output = folder / f"out-{n}"
        memories.append(peak_of(start(arguments.checkpoint, studies, output)))
        costs.append(cost_of(output))
    times = finish_times(folder / f"out-{arguments.long}")
    tenth = max(2, len(times) // 10)
    early, late = (statistics.median(np.diff(part)) for part in (times[:tenth], times[-tenth:]))
    return [
        row("cost", f"seconds a study, {SHORT} and {arguments.long:,}", costs, 1.1),
        row("cost", "seconds a study, first and last tenth of the long run (median)", [early, late], 1.1),
        row("cost", f"GiB at most, {SHORT} and {arguments.long:,}", memories, 1.1),
    ]


def bench_kill(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    """A run that is killed, beside one that is not."""
    n = arguments.studies
    studies = write_copies(arguments.data, folder / "killed", n)
    whole, cut = folder / "whole", folder / "cut"
    begun = time.monotonic()
    end(start(arguments.checkpoint, studies, whole))
    undisturbed_s = time.monotonic() - begun
    moment = random.Random(0)
    survived = 0
    for number in range(arguments.kills):
        process = start(arguments.checkpoint, studies, cut)
        if number % 2:
            wait_for_results(process, cut, count_results(cut) + moment.randint(1, 4))
            time.sleep(moment.uniform(0, 0.5))
        else:
            time.sleep(moment.uniform(0, undisturbed_s / 4))
        survived += process.poll() is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = count_results(cut)
    end(start(arguments.checkpoint, studies, cut))
    ledger = rows_of_ledger(cut)
    twice = sum(results > 1 for _, results, _ in ledger)
    extra = sum(attempts - 1 for _, _, attempts in ledger)
    found, expected = results_of(cut), results_of(whole)
    equal = sum(found.get(uid) == result for uid, result in expected.items())
    return [
        Row(
            part="kill",
            what=f"kills ({survived} came after the end), results before the last start",
            found=f"{arguments.kills}, {before}",
            target="",
            is_met=survived == 0,
        ),
        exact("kill", "results", len(found), n),
        exact("kill", "rows of scores.csv", table_rows(cut), n),
        exact("kill", "results equal to the undisturbed run's", equal, n),
        exact("kill", "studies whose result was written twice", twice, 0),
        Row(
            part="kill",
            what="studies begun again (those in hand at a kill)",
            found=str(extra),
            target=f"at most {4 * arguments.kills}",
            is_met=extra <= 4 * arguments.kills,
        ),
        exact("kill", "half-written folders", len(list(cut.glob(".*"))), 0),
    ]


def bench_large(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    """A CT of a thousand slices."""
    from medfuse.domain import Modality
    from medfuse.preprocess import ChannelRule, Recipe, Window

    sys.path.insert(0, str(CHECKOUT))
    from tests.benchmarks.dicom_data import write_series

    studies = folder / "large"
    write_series(studies / "ct", n_slices=arguments.slices, size=512)
    rule = ChannelRule(name="ct", modality=Modality.CT, window=Window(low=-1000, high=1000))
    recipe = Recipe(channels=(rule,), spacing_mm=(1.5, 1.5, 1.5), size=(96, 96, 96))
    output = folder / "out-large"
    checkpoint = random_checkpoint(folder / "large-run", recipe=recipe, features=(8, 16, 32))
    peak = peak_of(start(checkpoint, studies, output))
    ((seconds,),) = timings_of(output)
    return [
        Row(
            part="large",
            what=f"GiB at most, {arguments.slices:,} slices",
            found=f"{peak:.2f}",
            target=f"at most {LARGE_GIB}",
            is_met=peak <= LARGE_GIB,
        ),
        Row(part="large", what="seconds by stage", found=seconds, target="", is_met=True),
    ]


def timings_of(output: Path) -> list[tuple[str]]:
    """The stages of each study, as the ledger has them."""
    with closing(sqlite3.connect(output / "ledger.sqlite")) as database:
        return list(database.execute("SELECT timings FROM studies"))


def write_copies(data: Path, folder: Path, n: int) -> Path:
    """Copies of the studies, each under a Study Instance UID of its own."""
    sources = sorted(path for path in data.iterdir() if path.is_dir())
    for number in range(n):
        source, place = sources[number % len(sources)], folder / f"{number:05d}"
        for path in (path for path in source.rglob("*") if path.is_file()):
            target = place / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".txt":
                shutil.copyfile(path, target)
            elif path.name != "seg.dcm":
                dataset = pydicom.dcmread(path)
                for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                    setattr(dataset, keyword, f"{getattr(dataset, keyword)[:56]}.{number}")
                dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
                dataset.save_as(target, enforce_file_format=True)
    return folder


def random_checkpoint(folder: Path, *, recipe: Any = None, features: tuple[int, ...] = (16, 32, 64, 128)) -> Path:
    """A network of random weights, of the hippocampus config's size when nothing is said."""
    import torch

    from medfuse.domain import LabelSet
    from medfuse.model import ModelSpec, assemble
    from medfuse.model import checkpoint as checkpoints
    from medfuse.model.checkpoint import Checkpoint
    from medfuse.preprocess import ChannelRule, Recipe

    torch.manual_seed(0)
    labels = LabelSet(findings=("a", "b", "c"), segments=("anterior", "posterior"))
    recipe = recipe or Recipe(channels=(ChannelRule(name="t1"),), spacing_mm=(1, 1, 1), size=(48, 64, 48))
    spec = ModelSpec(text=None, fusion="concat", image_options={"features": features})
    network = assemble(spec, labels, 1)
    checkpoints.save(Checkpoint(name="bench", label_set=labels, recipe=recipe, spec=spec), network, folder)
    return folder


def start(checkpoint: Path, studies: Path, output: Path) -> subprocess.Popen[bytes]:
    """The command, with one engine, so that every run computes alike."""
    words = ["score", str(checkpoint), str(studies), "--output", str(output), "--quiet"]
    command = [sys.executable, "-m", "medfuse.cli.main", *words, "--engine", "pytorch", "--precision", "fp32"]
    return subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ)
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a run that has to end well."""
    _, said = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"the run ended with {process.returncode}: {said.decode()[-2000:]}")


def peak_of(process: subprocess.Popen[bytes]) -> float:
    """GiB that a run's processes took at most, all together; waits for its end."""
    peak = 0.0
    supervisor = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        for one in [supervisor, *children_of(supervisor)]:
            try:
                total += one.memory_full_info().pss
            except psutil.Error:
                continue
        peak = max(peak, total / 2**30)
        time.sleep(_SAMPLE_S)
    end(process)
    return peak


def children_of(process: psutil.Process) -> list[psutil.Process]:
    """The processes below one."""
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def finish_times(output: Path) -> list[float]:
    """When each study had its outcome, ascending."""
    with closing(sqlite3.connect(output / "ledger.sqlite")) as database:
        return [when for (when,) in database.execute("SELECT finished_at FROM studies ORDER BY finished_at")]


def cost_of(output: Path) -> float:
    """Seconds a study between the first outcome and the last."""
    times = finish_times(output)
    return (times[-1] - times[0]) / (len(times) - 1)


def rows_of_ledger(output: Path) -> list[tuple[str, int, int]]:
    """Study, how often its result was written, how often it was begun."""
    with closing(sqlite3.connect(output / "ledger.sqlite")) as database:
        return list(database.execute("SELECT key, results, attempts FROM studies"))


def count_results(output: Path) -> int:
    """How many studies have a result now."""
    if not (output / "ledger.sqlite").is_file():
        return 0
    with closing(sqlite3.connect(output / "ledger.sqlite", timeout=30)) as database:
        try:
            ((count,),) = database.execute("SELECT COUNT(*) FROM studies WHERE state = 'scored'")
        except sqlite3.OperationalError:  # the tables are being made
            return 0
    return int(count)


def wait_for_results(process: subprocess.Popen[bytes], output: Path, goal: int) -> None:
    """Wait until so many studies have a result, or the run has ended."""
    while process.poll() is None and count_results(output) < goal:
        time.sleep(0.02)


def table_rows(output: Path) -> int:
    """Rows of the table behind its header."""
    return len((output / "scores.csv").read_text(encoding="utf-8").splitlines()) - 1


def results_of(output: Path) -> dict[str, Any]:
    """Each result without what follows from the time: the prediction, the label map, and the frames of the SEG."""
    found = {}
    for path in sorted(output.glob("*/prediction.json")):
        document = {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if k not in _FROM_TIME}
        found[path.parent.name] = (document, *parts_of(path.parent))
    return found


def parts_of(folder: Path) -> Iterator[bytes]:
    """What the label map and the SEG hold."""
    image = nib.load(folder / "segmentation.nii.gz")
    yield np.asarray(image.dataobj).tobytes() + image.affine.tobytes()
    yield pydicom.dcmread(folder / "seg.dcm").PixelData


def row(part: str, what: str, pair: list[float], most: float) -> Row:
    """A pair of figures whose ratio should stay below `most`."""
    ratio = pair[1] / pair[0]
    found = f"{pair[0]:.3f}, {pair[1]:.3f} (ratio {ratio:.2f})"
    return Row(part=part, what=what, found=found, target=f"ratio at most {most}", is_met=ratio <= most)


def exact(part: str, what: str, found: int, expected: int) -> Row:
    """A figure that should be one number."""
    return Row(part=part, what=what, found=str(found), target=str(expected), is_met=found == expected)


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table("part", "what", "found", "target", "")
    for one in rows:
        table.add_row(one.part, one.what, one.found, one.target, "reached" if one.is_met else "missed")
    Console().print(table)


PARTS: dict[str, Callable[[Path, argparse.Namespace], list[Row]]] = {
    "cost": bench_cost,
    "kill": bench_kill,
    "large": bench_large,
}

if __name__ == "__main__":
    main()
