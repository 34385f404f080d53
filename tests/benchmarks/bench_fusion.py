"""What each modality adds: the same config with image and note, with the image alone, with the note alone.

    python tests/benchmarks/bench_fusion.py --output runs/bench-fusion [--studies DIR] [--labels FILE] [--set k=v ...]

`medfuse index`, then `medfuse ablate`, as a researcher would; what follows on the command line goes to `medfuse ablate`
(`--variants`, `--folds`, `--draws`, ...). The same command goes on where it was stopped.
"""

import argparse
import subprocess
import sys
from pathlib import Path

CONFIG = Path("configs/train/hippocampus.yaml")
STUDIES = Path("../shared/data/hippocampus/dicom")
VARIANTS = "image-only,text-only"


def main() -> None:
    """Index the studies, then train and table the models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--studies", type=Path, default=STUDIES)
    parser.add_argument("--labels", type=Path, default=None)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--variants", default=VARIANTS)
    asked, more = parser.parse_known_args()
    labels = asked.labels or asked.studies.parent / "labels.csv"
    manifest = asked.output / "manifest.csv"
    asked.output.mkdir(parents=True, exist_ok=True)
    medfuse("index", asked.studies, "--labels", labels, "--output", manifest)
    words = ("--output", asked.output, "--variants", asked.variants, "--set", f"data.manifest={manifest}")
    medfuse("ablate", asked.config, *words, "--markdown", *more)


def medfuse(*words: object) -> None:
    """Run one command of medfuse; a failure ends the benchmark."""
    subprocess.run([sys.executable, "-m", "medfuse.cli.main", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
