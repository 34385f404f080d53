import json
from dataclasses import replace
from pathlib import Path

import pytest

from medfuse import __version__
from medfuse.domain import Familiarity, LabelSet, LabelValue, ModelIdentity, Rejected, Target, TargetKind
from medfuse.domain import TargetPrediction as Answer
from medfuse.errors import UsageError
from medfuse.evaluation import Case, Subject
from medfuse.evaluation.cases import Volumes
from medfuse.evaluation.run import Collected, EvaluationSet
from medfuse.evaluation.stored import checkpoint_sha256, find_stored, keep, read_stored, stored_path, write_stored
from medfuse.ingest.manifest import ManifestRow
from medfuse.metrics.detection import Candidate, Detections

LABELS = LabelSet(
    findings=("nodule",), segments=("lung",), targets=(Target(name="age", kind=TargetKind.NUMBER, unit="years"),)
)
MODEL = ModelIdentity(name="small", version="0", weights_sha256="ab", config_sha256="cd")
CASE = Case(
    study_instance_uid="1.2.1",
    patient_key="p1",
    probabilities={"nodule": 0.1 + 0.2},
    labels={"nodule": LabelValue.PRESENT},
    dice={"lung": None},
    hd95_mm={"lung": 1.5},
    empty_masks={"lung": "both"},
    uncalibrated={"nodule": 0.25},
    spread={"nodule": 0.01},
    prediction_sets={"nodule": (LabelValue.PRESENT, LabelValue.ABSENT)},
    surface_dice={"lung": {1.0: 0.5, 2.5: 0.75}},
    volumes={"lung": Volumes(predicted_mm3=3.0, reference_mm3=4.0)},
    detections={"lung": Detections(lesions=1, candidates=(Candidate(confidence=2.0, is_lesion=True),))},
    targets={"age": Answer(name="age", kind=TargetKind.NUMBER, value=61.5, unit="years")},
    target_values={"age": 60.0},
    familiarity=Familiarity(distance=1.0, threshold=2.0),
    missing=("text",),
)


def chosen(**fields: object) -> EvaluationSet:
    row = ManifestRow(study_instance_uid="1.2.1", patient_key="p1", source="dicom", path=Path("x"))
    given: dict[str, object] = {
        "split": "test",
        "rows": (row,),
        "patient_keys": ("p1",),
        "labelled": frozenset({"nodule"}),
        "manifest_sha256": "ef",
    }
    return EvaluationSet(**{**given, **fields})  # type: ignore[arg-type]


def collected(**fields: object) -> Collected:
    subject = Subject(
        label_set=LABELS,
        split="test",
        operating_points={"nodule": 0.5},
        calibrated=frozenset({"nodule"}),
        model=MODEL,
        manifest_sha256="ef",
    )
    rejected = (Rejected(study_instance_uid="1.2.9", reason="R", detail="why"),)
    return Collected(cases=(CASE,), rejected=rejected, subject=replace(subject, **fields))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def checkpoint(tmp_path: Path) -> Path:
    best = tmp_path / "best"
    best.mkdir()
    (best / "checkpoint.json").write_text('{"calibration": 1}')
    (best / "model.safetensors").write_bytes(b"weights")
    return best


def test_a_checkpoint_that_was_trained_or_calibrated_since_is_another(tmp_path: Path, checkpoint: Path) -> None:
    write_stored(tmp_path, chosen(), collected())
    assert find_stored(tmp_path, chosen()) is not None
    (checkpoint / "familiarity.json").write_text("{}")
    assert find_stored(tmp_path, chosen()) is None
    (checkpoint / "familiarity.json").unlink()
    assert find_stored(tmp_path, chosen()) is not None
    (checkpoint / "checkpoint.json").write_text('{"calibration": 2}')
    assert find_stored(tmp_path, chosen()) is None
    (checkpoint / "checkpoint.json").unlink()
    assert checkpoint_sha256(tmp_path) == ""
    write_stored(tmp_path, chosen(), collected())
    assert find_stored(tmp_path, chosen()) is None


def test_what_is_stored_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    path = write_stored(tmp_path, chosen(), collected())
    assert path == tmp_path / "predictions" / "test.json"
    assert read_stored(path).collected == collected()
    assert find_stored(tmp_path, chosen()) == collected()
    text = path.read_text("utf-8")
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert str(tmp_path) not in text


def test_a_file_of_anything_else_is_not_used(tmp_path: Path) -> None:
    write_stored(tmp_path, chosen(), collected())
    row = chosen().rows[0]
    other_rows = (row, replace(row, study_instance_uid="1.2.2"))
    assert find_stored(tmp_path, chosen(manifest_sha256="changed")) is None
    assert find_stored(tmp_path, chosen(rows=other_rows, patient_keys=("p1", "p2"))) is None
    assert find_stored(tmp_path, chosen(patient_keys=("p2",))) is None
    assert find_stored(tmp_path, chosen(tolerances_mm=(1.0, 7.0))) is None
    assert find_stored(tmp_path, chosen(without=("text",))) is None
    assert find_stored(tmp_path, chosen(), augmentations=4) is None
    assert find_stored(tmp_path, chosen(split="validation")) is None


def test_a_file_of_another_version_is_not_used(tmp_path: Path) -> None:
    path = write_stored(tmp_path, chosen(), collected())
    path.write_text(path.read_text("utf-8").replace(f'"medfuse_version": "{__version__}"', '"medfuse_version": "0.0"'))
    assert find_stored(tmp_path, chosen()) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"subject": 1}'])
def test_a_broken_file_is_told_and_not_used(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = stored_path(tmp_path, "test")
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UsageError, match="holds no predictions of medfuse"):
        read_stored(path)
    assert find_stored(tmp_path, chosen()) is None
    assert "scoring anew" in caplog.text


def test_a_newer_file_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    path = write_stored(tmp_path, chosen(), collected())
    path.write_text(path.read_text("utf-8").replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(UsageError, match="schema_version 99"):
        read_stored(path)
    with pytest.raises(UsageError, match="run medfuse evaluate"):
        read_stored(tmp_path / "none.json")


def test_inputs_that_are_kept_back_have_a_file_of_their_own(tmp_path: Path) -> None:
    assert stored_path(tmp_path, "test", ("text", "t1")) == stored_path(tmp_path, "test", ("t1", "text"))
    assert stored_path(tmp_path, "test", ("../up",)).parent == tmp_path / "predictions"
    assert stored_path(tmp_path, "test", (), 4).name == "test-augmented-4.json"
    without = chosen(without=("text",))
    write_stored(tmp_path, without, collected(without=("text",)))
    assert find_stored(tmp_path, without) is not None
    assert find_stored(tmp_path, chosen()) is None


def test_a_run_that_cannot_be_written_is_told_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "predictions").write_text("a file")
    keep(tmp_path, chosen(), collected())
    assert "scored anew next time" in caplog.text
