"""A class, a grade and a number, from label file to held-out studies, with labels that are known in part."""

import csv
import shutil
from pathlib import Path
from statistics import fmean, median

import pytest
import torch

from medfuse.cli.main import main
from medfuse.data.cases import read_cases
from medfuse.data.collate import collate
from medfuse.data.samples import sample_of
from medfuse.domain import TargetPrediction
from medfuse.heads.targets import read_out
from medfuse.ingest.manifest import read_manifest
from medfuse.model import checkpoint as checkpoints
from medfuse.outputs import read_prediction
from medfuse.phantom import PhantomTruth, StudyTruth, write_phantom

pytestmark = pytest.mark.slow

STUDIES = 80
NAMES = ("sex", "lung size", "lung volume")
CONFIG = """
name: targets
labels:
  segments: [lung]
  targets:
    - {name: sex, kind: CLASSES, classes: [woman, man]}
    - {name: lung size, kind: GRADES, classes: [small, medium, large]}
    - {name: lung volume, kind: NUMBER, unit: l}
recipe:
  channels: [{name: ct, modality: CT, window: {low: -1000, high: 200}}]
  spacing_mm: [16, 16, 16]
  size: [24, 24, 24]
data: {folds: 4}
model:
  width: 32
  image: {name: unet, features: [4, 8]}
  text: {name: hashing}
  fusion: concat
  finding_dropout: 0.1
training:
  epochs: 30
  batch_size: 4
  learning_rate: 0.01
  warmup_steps: 10
  validate_every: 30
  select: last
  target_balance: inverse
  augment: null
  precision: fp32
"""


def medfuse(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


Told = dict[str, tuple[float, TargetPrediction]]


def true_values(study: StudyTruth) -> tuple[str, str, float]:
    litres = study.volumes_mm3["lung"] / 1e6
    size = "small" if litres < 3.0 else "Medium" if litres < 3.4 else "LARGE"
    return "man" if study.facts["sex"] == "M" else "woman", size, round(litres, 3)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomTruth]:
    """Made studies, a manifest with a third of each target's values left out, and a run."""
    folder = tmp_path_factory.mktemp("targets")
    truth = write_phantom("chest_ct", folder / "studies", studies=STUDIES, seed=11)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("study_instance_uid", *(f"target_{name}" for name in NAMES)))
        for n, study in enumerate(truth.studies):
            told = ("" if (n + place) % 3 == 0 else value for place, value in enumerate(true_values(study)))
            table.writerow((study.study_instance_uid, *told))
    (folder / "config.yaml").write_text(CONFIG)
    assert medfuse("index", folder / "studies", "--labels", folder / "labels.csv", "-o", folder / "manifest.csv") == 0
    setting = f"data.manifest={folder / 'manifest.csv'}"
    assert medfuse("train", folder / "config.yaml", "--output", folder / "run", "--set", setting) == 0
    return folder, truth


@pytest.fixture(scope="module")
def held_out(truth: tuple[Path, PhantomTruth]) -> list[Told]:
    """For each test study: target -> its truth, whether it was in the label file or not, and what the model says."""
    folder, made = truth
    checkpoint, network = checkpoints.load(checkpoints.locate(folder / "run"))
    lines = (folder / "run" / "splits.csv").read_text().splitlines()
    splits = {row["study_instance_uid"]: row["split"] for row in csv.DictReader(lines)}
    rows = [row for row in read_manifest(folder / "manifest.csv") if splits[row.study_instance_uid] == "test"]
    cases = list(read_cases(rows, checkpoint.recipe, checkpoint.label_set).cases.values())
    samples = [sample_of(case, checkpoint.recipe.size, checkpoint.label_set) for case in cases]
    assert network.text_encoder is not None
    with torch.no_grad():
        outputs = network(collate(samples, network.text_encoder.tokenize)).target_outputs
    values = {study.study_instance_uid: true_values(study) for study in made.studies}
    return [
        {
            target.name: (target.number_of(value), read_out(target, outputs[target.name][row]))
            for target, value in zip(checkpoint.label_set.targets, values[case.study_instance_uid], strict=True)
        }
        for row, case in enumerate(cases)
    ]


def errors(held_out: list[Told], name: str) -> tuple[float, float]:
    """Mean absolute error of the answers, and of the best answer that is the same for everybody."""
    told = [one[name] for one in held_out]
    values = [value for value, _ in told]
    wrong = fmean(abs(value - (said.value or 0.0)) for value, said in told)
    return wrong, fmean(abs(value - median(values)) for value in values)


def test_a_class_a_grade_and_a_number_are_learnt_better_than_by_chance(held_out: list[Told]) -> None:
    assert len(held_out) >= 15
    right = [said.probabilities[int(value)] for value, said in (one["sex"] for one in held_out)]
    assert sum(p > 0.5 for p in right) / len(right) >= 0.7
    for name in ("lung size", "lung volume"):
        wrong, constant = errors(held_out, name)
        assert wrong < 0.9 * constant, name


def test_answers_are_of_their_kind(held_out: list[Told]) -> None:
    for one in held_out:
        sex, size, volume = (one[name][1] for name in NAMES)
        assert sum(sex.probabilities) == pytest.approx(1)
        assert size.value == pytest.approx(sum(k * p for k, p in enumerate(size.probabilities)))
        assert volume.probabilities == ()
        assert volume.unit == "l"
        assert 1 < (volume.value or 0) < 6


def test_the_run_says_what_the_targets_cost(truth: tuple[Path, PhantomTruth]) -> None:
    rows = list(csv.DictReader((truth[0] / "run" / "losses.csv").read_text().splitlines()))
    assert float(rows[-1]["train/targets"]) < float(rows[0]["train/targets"])
    assert float(rows[-1]["validation/targets"]) > 0
    assert float(rows[-1]["train/findings"]) == 0


def test_scores_hold_the_answers(truth: tuple[Path, PhantomTruth], tmp_path: Path) -> None:
    folder, made = truth
    shutil.copytree(folder / "studies" / made.studies[0].directory, tmp_path / "new")
    assert medfuse("score", folder / "run", tmp_path / "new", "--output", tmp_path / "results") == 0
    (row,) = csv.DictReader((tmp_path / "results" / "scores.csv").read_text().splitlines())
    uid = made.studies[0].study_instance_uid
    said = {one.name: one for one in read_prediction(tmp_path / "results" / uid / "prediction.json").targets}
    assert tuple(said) == NAMES
    assert row["target_sex"] == said["sex"].most_probable
    assert row["target_lung size"] == said["lung size"].most_probable
    assert float(row["target_lung volume"]) == pytest.approx(said["lung volume"].value, rel=1e-3)
