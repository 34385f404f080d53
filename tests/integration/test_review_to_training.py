"""From a review to a new model: what readers decided, without any model, is what `medfuse train` learns from."""

import csv
from pathlib import Path

import numpy as np
import pytest

from medfuse.cli.main import main
from medfuse.domain import LabelValue, Segment, Subject, SubjectKind, Verdict
from medfuse.ingest import read_manifest, read_segmentation, read_volume, study_of
from medfuse.phantom import write_phantom
from medfuse.review import local_reader, open_room

STUDIES = 8
FINDINGS = ("enhancing_lesion", "seizures")
SETTINGS = (
    "labels.findings=[enhancing_lesion, seizures]",
    "training.epochs=1",
    "model.image.features=[4,8,16]",
    "model.text={name: hashing}",
)


def medfuse(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_decisions_on_studies_train_a_model(tmp_path: Path) -> None:
    write_phantom("brain_mr", tmp_path / "studies", studies=STUDIES, seed=3)
    with (tmp_path / "studies" / "labels.csv").open(newline="") as file:
        truth = {row["study_instance_uid"]: row for row in csv.DictReader(file)}
    room = open_room(tmp_path / "studies")
    room.refresh()
    desk = room.desk(local_reader("Dr. Ames"))
    corrected = {}
    for row in desk.page(limit=STUDIES).rows:
        study = desk.case(row.handle).study()
        for finding in FINDINGS:
            value = "PRESENT" if truth[study.study_instance_uid][finding] in {"1", "PRESENT"} else "ABSENT"
            desk.decide(row.handle, Subject(kind=SubjectKind.FINDING, name=finding), None, value=value)
        if not corrected:
            corrected[study.study_instance_uid] = correct(desk, row.handle, study)
        desk.sign_off(row.handle)
    room.close()
    manifest = tmp_path / "reviewed.csv"
    assert medfuse("review", tmp_path / "studies", "--export-labels", manifest) == 0
    rows = {row.study_instance_uid: row for row in read_manifest(manifest)}
    assert len(rows) == STUDIES
    assert {value for row in rows.values() for value in row.labels.values()} <= {LabelValue.PRESENT, LabelValue.ABSENT}
    (uid, drawn), *_ = corrected.items()
    found = study_of(rows[uid])
    geometry = read_volume(found.series[0]).geometry
    assert int((read_segmentation(found.segmentations[0], geometry).label_map > 0).sum()) == drawn
    options = [word for setting in (f"data.manifest={manifest}", *SETTINGS) for word in ("--set", setting)]
    assert medfuse("train", "configs/train/phantom_brain_mr.yaml", "--output", tmp_path / "run", *options) == 0


def correct(desk, handle: str, study) -> int:  # type: ignore[no-untyped-def]
    """Draw the edema anew: the whole slab; gives its number of voxels on the first series."""
    (mask, *_) = desk.case(handle).delineations(study)
    series = study.series[0]
    before = read_segmentation(mask.path, read_volume(series).geometry)
    label_map = np.array(before.label_map)
    label_map[:, :, label_map.shape[2] // 2] = 1
    segments = [Segment(number=s.number, name=s.name, algorithm_type="MANUAL") for s in before.segments]
    sha256 = desk.save_segmentation(handle, label_map, series.key, segments)
    desk.decide(handle, Subject(kind=SubjectKind.SEGMENT, name="edema"), Verdict.REJECTED, mask=sha256)
    return int((label_map > 0).sum())
