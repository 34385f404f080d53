"""Segments that overlap, from delineations that do not, to an answer that keeps them."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from medfuse.cli.main import main
from medfuse.domain import Segmentation
from medfuse.inference import Predictor
from medfuse.ingest.dicom.seg import read_overlapping_seg
from medfuse.ingest.manifest import read_manifest, study_of
from medfuse.outputs import read_prediction
from medfuse.phantom import write_phantom

pytestmark = pytest.mark.slow

CONFIG = """
name: regions
labels:
  findings: [seizures]
  segments: [whole, core]
  regions:
    - {segment: whole, parts: [lesion_core, edema]}
    - {segment: core, parts: [lesion_core]}
  overlapping: true
recipe:
  channels: [{preset: t1ce}, {preset: flair}]
  spacing_mm: [6, 6, 8]
  size: [40, 40, 24]
data: {folds: 4}
model:
  width: 32
  image: {name: unet, features: [8, 16, 32]}
  text: {name: hashing}
  fusion: concat
  deep_supervision: 1
training:
  epochs: 14
  batch_size: 2
  learning_rate: 0.005
  warmup_steps: 10
  validate_every: 14
  select: last
  augment: null
  precision: fp32
"""


def medfuse(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regions")
    write_phantom("brain_mr", folder / "studies", studies=24, seed=5)
    (folder / "config.yaml").write_text(CONFIG)
    labels = folder / "studies" / "labels.csv"
    assert medfuse("index", folder / "studies", "--labels", labels, "--output", folder / "manifest.csv") == 0
    manifest = f"data.manifest={folder / 'manifest.csv'}"
    assert medfuse("train", folder / "config.yaml", "--output", folder / "run", "--set", manifest) == 0
    return folder


def test_each_segment_is_learnt(root: Path) -> None:
    rows = list(csv.DictReader((root / "run" / "losses.csv").read_text().splitlines()))
    assert float(rows[-1]["validation/dice"]) > 0.5


def test_the_answer_keeps_what_overlaps(root: Path) -> None:
    predictor = Predictor.from_checkpoint(root / "run")
    shared = 0
    for row in read_manifest(root / "manifest.csv")[:8]:
        scored = predictor.predict(study_of(row))
        made = scored.segmentation
        assert made is not None
        whole, core = (made.mask(segment) for segment in made.segments)
        shared += int((whole & core).sum())
        assert np.array_equal(made.label_map == 2, core)
        volumes = {volume.name: volume.volume_mm3 for volume in scored.prediction.segment_volumes}
        voxel = made.geometry.voxel_volume_mm3
        assert volumes == pytest.approx({"whole": whole.sum() * voxel, "core": core.sum() * voxel})
    assert shared > 0


def test_studies_are_scored_and_evaluated_as_any_other(root: Path, tmp_path: Path) -> None:
    studies = sorted(path for path in (root / "studies").iterdir() if path.is_dir())[:3]
    for folder in studies:
        shutil.copytree(folder, tmp_path / "new" / folder.name)
    assert medfuse("score", root / "run", tmp_path / "new", "--output", tmp_path / "results") == 0
    written = list((tmp_path / "results").rglob("seg.dcm"))
    assert written
    for path in written:
        volumes = {one.name: one.volume_mm3 for one in read_prediction(path.parent / "prediction.json").segment_volumes}
        labels, overlaps, grid, segments = read_overlapping_seg(path)
        made = Segmentation(label_map=labels, geometry=grid, segments=segments, overlaps=overlaps)
        assert {one.name: made.volume_mm3(one) for one in made.segments} == pytest.approx(volumes, rel=1e-4)
    report = tmp_path / "report.json"
    manifest = root / "manifest.csv"
    assert medfuse("evaluate", root / "run", "--manifest", manifest, "--output", report, "--draws", 20) == 0
    assert '"whole"' in report.read_text()
