"""What each modality adds: the same config with image and note, with the note removed, with the image removed.

    python tests/benchmarks/bench_fusion.py --output runs/bench-fusion [--studies DIR] [--labels FILE] [--set k=v ...]

Trains the three on the same folds and seed, measures each on the test fold and prints one table; the figures go to
OUTPUT/table.json as well. Only the command line of medfuse is used, as a researcher would. The same command goes on
where it was stopped.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

CONFIG = Path("configs/train/hippocampus.yaml")
STUDIES = Path("../shared/data/hippocampus/dicom")
VARIANTS = {
    "image and note": [],
    "note removed": ["model.text=null"],
    "image removed": ["model.image=null", "labels.segments=[]"],
}


def main() -> None:
    """Run the three and print their table."""
    arguments = parse()
    arguments.output.mkdir(parents=True, exist_ok=True)
    manifest = arguments.output / "manifest.csv"
    labels = arguments.labels or arguments.studies.parent / "labels.csv"
    medfuse("index", arguments.studies, "--labels", labels, "--output", manifest)
    results = {name: measure(name, changes, manifest, arguments) for name, changes in VARIANTS.items()}
    (arguments.output / "table.json").write_text(json.dumps(results, indent=1))
    Console(width=160).print(table(results))


def parse() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--studies", type=Path, default=STUDIES)
    parser.add_argument("--labels", type=Path, default=None)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def measure(name: str, changes: list[str], manifest: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one variant and measure it on the test fold."""
    run = arguments.output / name.replace(" ", "-")
    settings = [f"data.manifest={manifest}", *arguments.set, *changes]
    clock, report = run / "minutes.json", run / "evaluation.json"
    if not clock.is_file():
        started = time.monotonic()
        options = [part for setting in settings for part in ("--set", setting)]
        medfuse("train", arguments.config, "--output", run, *options, *(["--resume"] if run.is_dir() else []))
        clock.write_text(json.dumps((time.monotonic() - started) / 60))
    if not report.is_file():
        medfuse("evaluate", run, "--manifest", manifest, "--output", report)
    return {"minutes": json.loads(clock.read_text()), "report": json.loads(report.read_text())}


def medfuse(*words: object) -> None:
    """Run one command of medfuse; a failure ends the benchmark."""
    subprocess.run([sys.executable, "-m", "medfuse.cli.main", *map(str, words)], check=True)


def table(results: dict[str, dict[str, Any]]) -> Table:
    """One row a variant: training time, AUROC of each finding, mean Dice, each with its 95 % interval."""
    made = Table(title="What each modality adds (test fold; 95 % bootstrap intervals by patient)")
    findings = list(dict.fromkeys(part["name"] for r in results.values() for part in r["report"]["findings"]))
    for heading in ("trained on", "minutes", *(f"AUROC {name}" for name in findings), "mean Dice"):
        made.add_column(heading)
    for name, result in results.items():
        report = result["report"]
        by_name = {part["name"]: part for part in report["findings"]}
        cells = [figure(by_name[key]["auroc"]) for key in findings]
        made.add_row(name, f"{result['minutes']:.1f}", *cells, figure(report["mean_dice"]))
    return made


def figure(estimate: dict[str, Any] | None) -> str:
    """A figure with its interval."""
    if estimate is None or estimate["value"] is None:
        return "-"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f}-{estimate['high']:.3f})"


if __name__ == "__main__":
    main()
