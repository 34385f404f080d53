"""Whether explanations mean something: deletion and insertion curves against random orders, and shuffled weights.

    python tests/benchmarks/bench_explain.py --run RUN --manifest FILE [--studies 20] [--map gradient] [--output FILE]

For each finding of a run, on studies of its test split: the area of the curve when what weighs most is taken away (or
put back) first, over the area of random orders, for the words of the note and for boxes of the image; and Spearman's
correlation of the map with that of the same network with shuffled weights. A finding that an input contributes next to
nothing to cannot have a meaningful curve in it, so the mean size of each input's Shapley value stands beside.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from medfuse.data.cases import read_cases
from medfuse.data.samples import Case
from medfuse.explain.explanation import study_contributions
from medfuse.explain.faithfulness import Kind, likeness, shuffled, voxel_areas, word_areas
from medfuse.explain.maps import METHODS, Method, voxel_weights
from medfuse.explain.reading import TEXT, Reading
from medfuse.explain.words import word_weights
from medfuse.inference.member import Member
from medfuse.ingest.manifest import read_manifest
from medfuse.model.checkpoint import locate

WANTED = 1.2
KINDS: tuple[Kind, ...] = ("deletion", "insertion")

Found = defaultdict[tuple[str, str, str], list[tuple[float, float]]]


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--map", dest="maps", action="append", choices=METHODS, default=None)
    parser.add_argument("--draws", type=int, default=5, help="random orders of each study")
    parser.add_argument("--output", type=Path, default=None)
    asked = parser.parse_args()
    member = Member.load(locate(asked.run), torch.device("cpu"))
    other = shuffled(member, 0)
    found: Found = defaultdict(list)
    for case in test_cases(asked.run, asked.manifest, member, asked.studies):
        measure(member, other, case, asked.maps or ["gradient"], asked.draws, found)
        say(f"measured {case.study_instance_uid}")
    report(found, asked.output)


def test_cases(run: Path, manifest: Path, member: Member, most: int) -> Iterator[Case]:
    """The first studies of the test split."""
    with (run / "splits.csv").open(encoding="utf-8", newline="") as file:
        wanted = {line["study_instance_uid"] for line in csv.DictReader(file) if line["split"] == "test"}
    rows = [row for row in read_manifest(manifest) if row.study_instance_uid in wanted][:most]
    yield from read_cases(rows, member.checkpoint.recipe, member.checkpoint.label_set).cases.values()


def measure(member: Member, other: Member, case: Case, maps: list[Method], draws: int, found: Found) -> None:
    """Add the areas of one study."""
    readings = [Reading.whole(member, case)]
    added = study_contributions(readings, case)
    words = word_weights(readings, case)
    for position, finding in enumerate(member.checkpoint.label_set.findings):
        for source, values in added.of_inputs.items():
            found[finding, f"contribution of {source}", ""].append((abs(float(values[position])), 0.0))
        for kind in KINDS if TEXT in added.of_inputs else ():
            areas = word_areas(readings, case, position, words.weights[:, position], kind, draws=draws, seed=0)
            found[finding, "words", kind].append((areas.weighted, areas.shuffled))
    for method in maps:
        weights = voxel_weights(readings, case, method)
        untaught = voxel_weights([Reading(member=other, starts=readings[0].starts)], case, method)
        for position, finding in enumerate(member.checkpoint.label_set.findings):
            like = likeness(weights[position], untaught[position])
            found[finding, f"{method} map", "likeness to shuffled weights"].append((like, 0.0))
            for kind in KINDS:
                areas = voxel_areas(readings, case, position, weights[position], kind, draws=draws, seed=0)
                found[finding, f"{method} map", kind].append((areas.weighted, areas.shuffled))


def report(found: Found, output: Path | None) -> None:
    """Print the table, and write it as JSON."""
    rows = []
    for (finding, what, measured), pairs in found.items():
        ours, random = (float(value) for value in np.mean(pairs, axis=0))
        row = {"finding": finding, "what": what, "measure": measured, "n": len(pairs), "value": ours, "random": random}
        line = f"{finding:28} {what:24} {measured:30} n={len(pairs):<3} {ours:+.3f}"
        if measured in KINDS:
            met = ours >= WANTED * random and ours > 0
            line += f" against {random:+.3f} at random: {'meets' if met else 'misses'} {WANTED - 1:.0%} better"
        rows.append(row)
        say(line)
    if output is not None:
        output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def say(line: str) -> None:
    """One line of the table."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
