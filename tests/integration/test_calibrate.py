"""A run and a cross-validation, calibrated anew from the command line; and an explanation of one of their answers."""

import csv
import json
from pathlib import Path

import pytest

from medfuse.cli.main import main
from medfuse.inference import Predictor
from medfuse.ingest import find_studies
from medfuse.model import checkpoint as checkpoints
from medfuse.phantom import write_phantom

pytestmark = pytest.mark.slow

CONFIG = """
name: calibrated
labels: {findings: [smoking_history], segments: [lung]}
recipe:
  channels: [{name: ct, modality: CT, window: {low: -1000, high: 200}}]
  spacing_mm: [16, 16, 16]
  size: [24, 24, 24]
data: {folds: 3}
model:
  width: 32
  image: {name: unet, features: [4, 8]}
  text: {name: hashing}
  fusion: concat
training: {epochs: 1, batch_size: 4, augment: null, precision: fp32}
"""


def medfuse(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated")
    write_phantom("chest_ct", folder / "studies", studies=40, seed=5)
    labels = folder / "studies" / "labels.csv"
    (folder / "config.yaml").write_text(CONFIG)
    assert medfuse("index", folder / "studies", "--labels", labels, "--output", folder / "m.csv") in (0, 1)
    words = ("train", folder / "config.yaml", "--set", f"data.manifest={folder / 'm.csv'}")
    assert medfuse(*words, "--output", folder / "cv", "--folds", 3) in (0, 1)
    return folder


def test_a_run_that_is_trained_knows_its_training_set(made: Path) -> None:
    described = checkpoints.describe(made / "cv" / "fold-0" / "best")
    assert described.familiarity is not None
    assert described.ranges is not None
    assert all(one.conformal is not None for one in described.calibration.values())


def test_a_cross_validation_is_calibrated_on_the_other_folds(made: Path) -> None:
    before = checkpoints.describe(made / "cv" / "fold-0" / "best")
    words = ("calibrate", made / "cv", "--manifest", made / "m.csv", "--method", "platt", "--alpha", "0.2")
    assert medfuse(*words) in (0, 1)
    after = checkpoints.describe(made / "cv" / "fold-0" / "best")
    assert after.weights_sha256 == before.weights_sha256
    assert checkpoints.load(made / "cv" / "fold-0" / "best")
    (one,) = after.calibration.values()
    assert one.slope is not None
    assert one.conformal is not None
    (whole,) = checkpoints.read_ensemble(made / "cv").values()
    tests = {}
    for fold in range(3):
        with (made / "cv" / f"fold-{fold}" / "splits.csv").open(newline="") as file:
            tests[fold] = sum(line["split"] == "test" for line in csv.DictReader(file))
    assert one.conformal.present_cases + one.conformal.absent_cases <= tests[1] + tests[2]
    assert whole.present_cases + whole.absent_cases <= sum(tests.values())
    assert whole.alpha == 0.2
    study = find_studies(made / "studies").studies[0]
    predictor = Predictor.from_checkpoint(made / "cv", device="cpu", augmentations=1)
    prediction = predictor.predict(study).prediction
    assert prediction.familiarity is not None
    assert prediction.findings[0].prediction_set is not None
    assert set(prediction.timings) == {"read", "preprocess", "network", "restore"}


def test_an_answer_is_explained(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = find_studies(made / "studies").studies[0]
    words = ("explain", made / "cv" / "fold-0", study.path, "--study-uid", study.study_instance_uid)
    assert medfuse(*words, "--output", made / "why", "--map", "none") == 0
    told = json.loads((made / "why" / "explanation.json").read_text(encoding="utf-8"))
    assert told["study_instance_uid"] == study.study_instance_uid
    assert "ct" in told["findings"][0]["contributions"]
    assert medfuse(*words, "--output", made / "why", "--map", "magic") == 2
    assert medfuse(*words, "--output", made / "studies") == 2
    assert "holds something that is no explanation" in capsys.readouterr().err
