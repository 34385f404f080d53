"""Whether a model knows what it was not trained on: other anatomy against its own held-out studies.

    python tests/benchmarks/bench_ood.py --run RUN --manifest FILE [--data ../shared/data] [--crops 40] [--output FILE]

RUN is a run of the hippocampus config. Chest CT, lung nodules' surroundings and whole-brain MR are cut to crops of a
hippocampus crop's size and given to the model as volumes, for its channel rule would refuse a CT. Printed for each
source: AUROC of the distance against the test split, and the share that is flagged; and the share of the test split
that is flagged wrongly. A run that knows no familiarity yet learns it here, in memory, as medfuse calibrate would.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from medfuse.data.cases import read_cases
from medfuse.data.samples import Case
from medfuse.domain import Volume
from medfuse.errors import StudyError
from medfuse.inference.familiarity import threshold_of
from medfuse.inference.member import Member
from medfuse.ingest import find_studies, read_volume
from medfuse.ingest.manifest import read_manifest
from medfuse.model.checkpoint import locate
from medfuse.preprocess import Recipe
from medfuse.preprocess.grid import model_grid, resample
from medfuse.preprocess.intensity import normalise
from medfuse.seeding import stream
from medfuse.training.calibrate import learn_training_set

WANTED_AUROC = 0.99
CROP = (36, 50, 36)
LEAST_FOREGROUND = 0.5
SOURCES = {
    "chest-abdomen CT": "ct-dicom/series",
    "chest CT (LIDC slab)": "lidc-dicom",
    "lung nodules (LIDC cubes)": "lidc-nodules/image",
    "whole-brain MR": "brain-mr-dicom/Study1",
    "CT and MR (NIfTI)": "ct-nifti",
}


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--crops", type=int, default=40, help="of each source")
    parser.add_argument("--output", type=Path, default=None)
    asked = parser.parse_args()
    member = Member.load(locate(asked.run), torch.device("cpu"))
    cases = split_cases(asked.run, asked.manifest, member)
    threshold = known_threshold(member, cases)
    own = np.array([distance(member, case) for case in cases["test"]])
    found: dict[str, dict[str, float]] = {}
    for name, where in SOURCES.items():
        crops = list(crops_below(asked.data / where, member.checkpoint.recipe, asked.crops, name))
        far = np.array([distance(member, crop) for crop in crops])
        if far.size:
            truth = np.r_[np.zeros(own.size), np.ones(far.size)]
            auroc = float(roc_auc_score(truth, np.r_[own, far]))
            found[name] = {"crops": far.size, "auroc": auroc, "flagged": float((far > threshold).mean())}
    report(own, threshold, found, asked.output)


def split_cases(run: Path, manifest: Path, member: Member) -> dict[str, list[Case]]:
    """The studies of each split of a run."""
    with (run / "splits.csv").open(encoding="utf-8", newline="") as file:
        split = {line["study_instance_uid"]: line["split"] for line in csv.DictReader(file)}
    rows = [row for row in read_manifest(manifest) if row.study_instance_uid in split]
    cases = read_cases(rows, member.checkpoint.recipe, member.checkpoint.label_set).cases
    return {
        name: [case for uid, case in cases.items() if split[uid] == name] for name in ("train", "validation", "test")
    }


def known_threshold(member: Member, cases: dict[str, list[Case]]) -> float:
    """The checkpoint's threshold, or one fitted now on its training and validation studies."""
    if member.checkpoint.familiarity is not None:
        return member.checkpoint.familiarity.threshold
    learn_training_set(member, cases["train"])
    return threshold_of([distance(member, case) for case in cases["validation"]])


def distance(member: Member, case: Case) -> float:
    """Distance of a study to the training set."""
    features = member.embed(case)
    if features is None or member.training_set is None:
        raise SystemExit("the model sees no image, or too few studies trained it")
    return member.training_set.distance(features)


def crops_below(path: Path, recipe: Recipe, wanted: int, name: str) -> Iterator[Case]:
    """Crops of the volumes below a path, an equal number of each as far as that goes."""
    volumes = list(volumes_below(path, wanted))
    each = -(-wanted // max(1, len(volumes)))
    random = stream(0, "crops", name)
    left = wanted
    for volume in volumes:
        for voxels in cut(volume, recipe, min(each, left), random):
            left -= 1
            image = normalise(voxels, recipe.channels[0].window)[None].astype(np.float32)
            yield Case(
                study_instance_uid=name,
                image=image,
                channel_present=np.ones(1, dtype=bool),
                text="",
                truth=None,
                labels={},
                voxel_volume_ml=0.001,
            )


def volumes_below(path: Path, most: int) -> Iterator[Volume]:
    """Volumes larger than a crop's half, at most `most`; hippocampus crops that lie among them are left out."""
    count = 0
    for study in find_studies(path, cache=None).studies:
        for series in study.series:
            if "hippo" in series.description.casefold() or count >= most:
                continue
            try:
                volume = read_volume(series)
            except StudyError:
                continue
            count += 1
            yield volume


def cut(volume: Volume, recipe: Recipe, wanted: int, random: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Crops at random places of a volume, on the model's spacing, that are not mostly air or void."""
    grid = model_grid(volume.geometry, recipe.spacing_mm)
    voxels = resample(volume.voxels, volume.geometry, grid, outside=float(volume.voxels.min()))
    dark = voxels.min() + 0.1 * (np.percentile(voxels, 99) - voxels.min())
    given = 0
    for _ in range(50 * wanted):
        first = [int(random.integers(0, max(1, n - m + 1))) for n, m in zip(voxels.shape, CROP, strict=True)]
        part = voxels[tuple(slice(f, f + m) for f, m in zip(first, CROP, strict=True))]
        if given < wanted and (part > dark).mean() >= LEAST_FOREGROUND:
            given += 1
            yield part


def say(line: str) -> None:
    """One line of the table."""
    sys.stdout.write(line + "\n")


def report(own: NDArray[np.float64], threshold: float, found: dict[str, dict[str, float]], output: Path | None) -> None:
    """Print the table, and write it as JSON."""
    alarms = float((own > threshold).mean())
    say(f"own held-out studies: {own.size}, distance {np.median(own):.2f} (median), flagged {alarms:.1%}")
    say(f"threshold {threshold:.2f}")
    for name, row in found.items():
        verdict = "meets" if row["auroc"] >= WANTED_AUROC else "misses"
        auroc = f"AUROC {row['auroc']:.4f} ({verdict} {WANTED_AUROC})"
        say(f"{name:28} n={row['crops']:<4.0f} {auroc}, flagged {row['flagged']:.1%}")
    if output is not None:
        text = json.dumps({"own": own.size, "false_alarms": alarms, "threshold": threshold, "sources": found}, indent=1)
        output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
