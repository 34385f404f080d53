"""How long the stages before the network take on made studies, and a study's score with it.

    python tests/benchmarks/bench_speed.py [--studies 20] [--checkpoint RUN]

Every figure is the fastest of three rounds. With --checkpoint, the studies are scored too (a model of the same family).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from medfuse.domain import Study
from medfuse.ingest import find_studies, read_volume
from medfuse.phantom import write_phantom

ROUNDS = 3


def main() -> None:
    """Make the studies, time the stages, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--checkpoint", type=Path)
    arguments = parser.parse_args()
    table = Table("stage", "family", "seconds", "a study (ms)")
    table.add_row("medfuse --help", "", f"{fastest(show_help):.3f}", "")
    for family in ("brain_mr", "chest_ct"):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / family
            write_phantom(family, root, studies=arguments.studies, seed=0)
            for stage, seconds in stages(root, arguments.checkpoint):
                table.add_row(stage, family, f"{seconds:.3f}", f"{1000 * seconds / arguments.studies:.1f}")
    Console().print(table)


def stages(root: Path, checkpoint: Path | None) -> list[tuple[str, float]]:
    """Seconds of each stage over all the studies under `root`."""
    studies = find_studies(root).studies
    timed = [
        ("find studies", fastest(lambda: find_studies(root))),
        ("read volumes", fastest(lambda: read_all(studies))),
    ]
    if checkpoint is not None:
        timed.append(("score", fastest(lambda: score_all(studies, checkpoint), rounds=1)))
    return timed


def read_all(studies: tuple[Study, ...]) -> None:
    """Read every series of every study."""
    for study in studies:
        for series in study.series:
            read_volume(series)


def score_all(studies: tuple[Study, ...], checkpoint: Path) -> None:
    """Score every study, the loading of the model included."""
    from medfuse.errors import StudyError
    from medfuse.inference import Predictor

    predictor = Predictor.from_checkpoint(checkpoint)
    for study in studies:
        try:
            predictor.predict(study)
        except StudyError as error:
            sys.stderr.write(f"not scored: {error.reason}\n")


def show_help() -> None:
    """Start the command line once."""
    subprocess.run([sys.executable, "-m", "medfuse.cli.main", "--help"], check=True, stdout=subprocess.DEVNULL)


def fastest(action: Callable[[], object], *, rounds: int = ROUNDS) -> float:
    """Seconds of the fastest round."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return min(taken)


if __name__ == "__main__":
    main()
