"""What the text adds to a delineation: two nodules alike, the report names one, with the text and without.

    python tests/benchmarks/bench_phrase.py --output runs/bench-phrase [--studies 200] [--set k=v ...]

Made studies, `medfuse index`, then `medfuse ablate` on the same folds and seeds. The same command goes on where it was
stopped.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from medfuse.phantom import write_phantom

CONFIG = Path("configs/train/phantom_named_nodule.yaml")
VARIANTS = "image-only,shuffled-reports"


def main() -> None:
    """Make the studies, then train and table the models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variants", default=VARIANTS)
    asked, more = parser.parse_known_args()
    studies, manifest = asked.output / "studies", asked.output / "manifest.csv"
    if not studies.exists():
        write_phantom("named_nodule", studies, studies=asked.studies, seed=asked.seed)
    medfuse("index", studies, "--output", manifest)
    words = ("--output", asked.output, "--variants", asked.variants, "--set", f"data.manifest={manifest}")
    medfuse("ablate", CONFIG, *words, "--markdown", *more)


def medfuse(*words: object) -> None:
    """Run one command of medfuse; a failure ends the benchmark."""
    subprocess.run([sys.executable, "-m", "medfuse.cli.main", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
