from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medfuse.domain import (
    Affine,
    Finding,
    LabelSet,
    LabelValue,
    ModelIdentity,
    Prediction,
    Scored,
    Segment,
    Segmentation,
    Study,
    Target,
    TargetKind,
    VolumeGeometry,
)
from medfuse.errors import CheckpointError, ManifestError, MissingInputError, UnreadableFileError, UsageError
from medfuse.evaluation import run as measuring
from medfuse.evaluation.run import collect_cases, read_split
from medfuse.ingest.manifest import ManifestRow, read_manifest, write_manifest
from medfuse.model.checkpoint import Calibration

GRID = VolumeGeometry(shape=(6, 5, 4), affine=Affine(np.diag([1.0, 2.0, 3.0, 1.0])))
LABELS = LabelSet(findings=("nodule",), segments=("left", "right"))


def cube(low: int, *, number: int = 1, name: str = "left") -> Segmentation:
    label_map = np.zeros(GRID.shape, np.uint8)
    label_map[low : low + 2, 1:4, 1:3] = number
    segments = {1: Segment(number=1, name="left"), 2: Segment(number=2, name="right")}
    segments[number] = Segment(number=number, name=name)
    return Segmentation(label_map=label_map, geometry=GRID, segments=tuple(segments.values()))


class StandIn:
    """A scorer that says what it is told."""

    identity = ModelIdentity(name="stand-in", version="0", weights_sha256="", config_sha256="")

    def __init__(self, label_set: LabelSet = LABELS, fails: Callable[[Study], None] = lambda _: None) -> None:
        self.label_set = label_set
        self.fails = fails
        self.asked: list[str] = []

    def predict(self, study: Study) -> Scored:
        self.asked.append(study.study_instance_uid)
        self.fails(study)
        findings = tuple(
            Finding(name=name, probability=0.25, operating_point=0.125, calibrated=True)
            for name in self.label_set.findings
        )
        prediction = Prediction(
            study_instance_uid=study.study_instance_uid,
            accession_number="",
            model=self.identity,
            findings=findings,
            series_used={},
            created_at="2026-01-01T00:00:00Z",
        )
        segmentation = cube(1) if self.label_set.segments else None
        return Scored(prediction=prediction, segmentation=segmentation)


@pytest.fixture
def run_folder(tmp_path: Path) -> tuple[Path, Path]:
    """A run with a split file, and the manifest of its studies (3 test, 1 validation, 2 train, 1 of no split)."""
    run = tmp_path / "run"
    run.mkdir()
    splits = [("s1", "p1", "train"), ("s2", "p1", "train"), ("s3", "p3", "validation")]
    splits += [("s4", "p4", "test"), ("s5", "p5", "test"), ("s6", "p5", "test")]
    lines = ["study_instance_uid,patient_key,split", *(",".join(line) for line in splits)]
    (run / "splits.csv").write_text("\n".join(lines) + "\n")
    rows = [
        ManifestRow(
            study_instance_uid=f"s{n}",
            patient_key=f"p{n}",
            source="nifti",
            path=tmp_path / f"s{n}",
            labels={"nodule": LabelValue.PRESENT if n % 2 else LabelValue.ABSENT},
        )
        for n in range(7, 0, -1)
    ]
    write_manifest(tmp_path / "manifest.csv", rows)
    return run, tmp_path / "manifest.csv"


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> dict[str, Segmentation | Exception]:
    """Study -> what its delineation reads as; the studies are made up from their rows."""
    delineations: dict[str, Segmentation | Exception] = {}

    def study_of(row: ManifestRow) -> Study:
        uid = row.study_instance_uid
        paths = (Path(uid),) if uid in delineations else ()
        return Study(study_instance_uid=uid, patient_key=row.patient_key, path=row.path, segmentations=paths)

    def read(path: Path, on: VolumeGeometry) -> Segmentation:
        assert on is GRID
        found = delineations[str(path)]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(measuring, "study_of", study_of)
    monkeypatch.setattr(measuring, "read_segmentation", read)
    return delineations


def test_the_split_is_the_runs_and_nothing_else(run_folder: tuple[Path, Path]) -> None:
    chosen = read_split(*run_folder, "test")
    assert [row.study_instance_uid for row in chosen.rows] == ["s4", "s5", "s6"]
    assert chosen.patient_keys == ("p4", "p5", "p5")  # the split file's, by which the run was split
    assert chosen.labelled == {"nodule"}
    assert len(chosen.manifest_sha256) == 64
    assert [row.study_instance_uid for row in read_split(*run_folder, "train").rows] == ["s1", "s2"]


def test_a_split_that_the_run_lacks_is_refused(run_folder: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="no study of split 'tset'; it has: test, train, validation"):
        read_split(*run_folder, "tset")


def test_a_patient_in_two_splits_is_refused(run_folder: tuple[Path, Path]) -> None:
    with (run_folder[0] / "splits.csv").open("a") as file:
        file.write("s7,p4,train\n")
    with pytest.raises(UsageError, match="1 patients of 'test' are in another split too"):
        read_split(*run_folder, "test")


@pytest.mark.parametrize("text", ["study_instance_uid,split\ns4,test\n", ""])
def test_a_split_file_without_its_columns_is_refused(run_folder: tuple[Path, Path], text: str) -> None:
    (run_folder[0] / "splits.csv").write_text(text)
    with pytest.raises(UsageError, match="lacks the column"):
        read_split(*run_folder, "test")


def test_a_folder_that_is_no_run_is_refused(run_folder: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="RUN is a folder that medfuse train wrote"):
        read_split(run_folder[0].parent, run_folder[1], "test")
    (run_folder[0] / "splits.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"splits\.csv"):
        read_split(*run_folder, "test")


def test_a_manifest_without_studies_of_the_split_is_refused(run_folder: tuple[Path, Path]) -> None:
    run, manifest = run_folder
    manifest.write_text("".join(line for line in manifest.read_text().splitlines(True) if not line.startswith("s5")))
    with pytest.raises(ManifestError, match="lacks 1 of 3 studies of split 'test': s5"):
        read_split(run, manifest, "test")
    assert len(read_split(run, manifest, "train").rows) == 2


def test_a_manifest_of_other_labels_is_refused_before_any_scoring(
    run_folder: tuple[Path, Path], studies: dict[str, Segmentation | Exception]
) -> None:
    scorer = StandIn(LabelSet(findings=("nodule", "oedema")))
    with pytest.raises(CheckpointError, match="predicts oedema, of which the manifest has no labels; it has: nodule"):
        collect_cases(scorer, read_split(*run_folder, "test"))
    assert scorer.asked == []


def test_cases_hold_prediction_and_truth(
    run_folder: tuple[Path, Path], studies: dict[str, Segmentation | Exception]
) -> None:
    studies |= {"s4": cube(1), "s5": cube(2)}
    told: list[int] = []
    collected = collect_cases(StandIn(), read_split(*run_folder, "test"), on_study=lambda: told.append(1))
    first, second, third = collected.cases
    assert len(told) == 3
    assert (first.probabilities, first.labels) == ({"nodule": 0.25}, {"nodule": LabelValue.ABSENT})
    assert (first.dice, first.hd95_mm) == ({"left": 1.0, "right": 1.0}, {"left": 0.0, "right": 0.0})
    assert first.empty_masks == {"right": "both"}
    assert second.dice["left"] == pytest.approx(0.5)
    assert second.hd95_mm["left"] == pytest.approx(1.0)
    assert (third.dice, third.hd95_mm) == ({"left": None, "right": None}, {"left": None, "right": None})
    assert third.patient_key == "p5"
    subject = collected.subject
    assert subject.operating_points == {"nodule": 0.125}
    assert (subject.split, subject.calibrated, subject.model) == ("test", {"nodule"}, StandIn.identity)


def test_segments_meet_by_name_not_by_number(
    run_folder: tuple[Path, Path], studies: dict[str, Segmentation | Exception]
) -> None:
    studies["s4"] = replace(
        cube(1, number=2), segments=(Segment(number=1, name="right"), Segment(number=2, name="left"))
    )
    case = collect_cases(StandIn(), read_split(*run_folder, "test")).cases[0]
    assert case.dice == {"left": 1.0, "right": 1.0}
    assert case.empty_masks == {"right": "both"}


def test_delineations_of_other_segments_are_another_label_set(
    run_folder: tuple[Path, Path], studies: dict[str, Segmentation | Exception]
) -> None:
    lung = replace(cube(1), segments=(Segment(number=1, name="lung"),))
    studies |= {"s4": lung, "s5": lung}
    with pytest.raises(CheckpointError, match=r"none of 2 delineations names a segment of the model \(left, right\)"):
        collect_cases(StandIn(), read_split(*run_folder, "test"))


def test_a_bad_study_is_rejected_and_the_others_go_on(
    run_folder: tuple[Path, Path],
    studies: dict[str, Segmentation | Exception],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(study: Study) -> None:
        if study.study_instance_uid == "s4":
            raise MissingInputError("it has none of the model's inputs")

    studies |= {"s5": UnreadableFileError("cut off", reason="TRUNCATED_FILE"), "s6": cube(1)}
    told: list[int] = []
    chosen = read_split(*run_folder, "test")
    collected = collect_cases(StandIn(fails=fails), chosen, on_study=lambda: told.append(1))
    assert [case.study_instance_uid for case in collected.cases] == ["s6"]
    assert [(r.study_instance_uid, r.reason) for r in collected.rejected] == [
        ("s4", "MISSING_INPUT"),
        ("s5", "TRUNCATED_FILE"),
    ]
    assert len(told) == 3
    assert "s4 rejected: MISSING_INPUT" in caplog.text


def test_a_study_that_is_gone_is_rejected(run_folder: tuple[Path, Path]) -> None:
    collected = collect_cases(StandIn(), read_split(*run_folder, "test"))
    assert [r.reason for r in collected.rejected] == ["STUDY_NOT_FOUND"] * 3
    assert collected.cases == ()


def test_a_model_without_segments_has_none(
    run_folder: tuple[Path, Path], studies: dict[str, Segmentation | Exception]
) -> None:
    studies["s4"] = cube(1)
    collected = collect_cases(StandIn(LabelSet(findings=("nodule",))), read_split(*run_folder, "test"))
    assert collected.cases[0].dice == {}


IGNORES = (Segment(number=1, name="left"), Segment(number=2, name="right"), Segment(number=255, name="segment_255"))


@pytest.mark.parametrize("name", ["segment_255", "255", "ignore"])
def test_voxels_that_a_delineation_leaves_open_take_no_part(
    run_folder: tuple[Path, Path], studies: dict[str, Segmentation | Exception], name: str
) -> None:
    label_map = cube(1).label_map.copy()
    label_map[1, 1:4, 1:3] = 255  # half of what the model calls left
    regions = (*IGNORES[:2], Segment(number=255, name=name))
    studies["s4"] = Segmentation(label_map=label_map, geometry=GRID, segments=regions)
    case = collect_cases(StandIn(), read_split(*run_folder, "test")).cases[0]
    assert case.dice["left"] == 1.0
    half = 6 * GRID.voxel_volume_mm3
    assert (case.volumes["left"].predicted_mm3, case.volumes["left"].reference_mm3) == (half, half)
    assert case.surface_dice["left"][2.0] == 1.0


def test_a_named_region_of_number_255_is_no_hole(
    run_folder: tuple[Path, Path], studies: dict[str, Segmentation | Exception]
) -> None:
    label_map = cube(1).label_map.copy()
    label_map[1, 1:4, 1:3] = 255
    regions = (*IGNORES[:2], Segment(number=255, name="vessel"))
    studies["s4"] = Segmentation(label_map=label_map, geometry=GRID, segments=regions)
    case = collect_cases(StandIn(), read_split(*run_folder, "test")).cases[0]
    assert case.dice["left"] == pytest.approx(2 * 6 / (12 + 6))


def test_cases_hold_volumes_surfaces_and_lesions(
    run_folder: tuple[Path, Path], studies: dict[str, Segmentation | Exception]
) -> None:
    studies["s4"] = cube(2)
    case = collect_cases(StandIn(), read_split(*run_folder, "test")).cases[0]
    assert case.volumes["left"].predicted_mm3 == 12 * 6.0
    assert set(case.surface_dice["left"]) == {1.0, 2.0, 3.0, 5.0}
    assert case.surface_dice["right"][1.0] == 1.0
    assert case.detections["left"].lesions == 1
    assert [(c.confidence, c.is_lesion) for c in case.detections["left"].candidates] == [(72.0, True)]
    assert case.detections["right"].lesions == 0


@pytest.mark.parametrize(
    ("fitted", "logit"),
    [
        (Calibration(temperature=2.0), 2 * np.log(1 / 3)),
        (SimpleNamespace(temperature=None, slope=0.5, intercept=1.0), (np.log(1 / 3) - 1) / 0.5),
    ],
)
def test_the_probability_before_scaling_is_that_of_the_logit(
    run_folder: tuple[Path, Path], studies: dict[str, Segmentation | Exception], fitted: object, logit: float
) -> None:
    scorer = StandIn()
    scorer.checkpoint = SimpleNamespace(calibration={"nodule": fitted})  # type: ignore[attr-defined]
    chosen = read_split(*run_folder, "test")
    case = collect_cases(scorer, chosen).cases[0]
    assert case.uncalibrated["nodule"] == pytest.approx(1 / (1 + np.exp(-logit)))
    assert collect_cases(scorer, chosen, augmentations=4).cases[0].uncalibrated == {}
    assert collect_cases(scorer, chosen, augmentations=4).subject.augmentations == 4
    scorer.is_ensemble = True  # type: ignore[attr-defined]
    assert collect_cases(scorer, chosen).cases[0].uncalibrated == {}


def test_targets_meet_the_manifests_values(
    run_folder: tuple[Path, Path], studies: dict[str, Segmentation | Exception]
) -> None:
    run, manifest = run_folder
    grade = Target(name="grade", kind=TargetKind.GRADES, classes=("none", "mild"))
    label_set = LabelSet(findings=("nodule",), targets=(grade,))
    with pytest.raises(CheckpointError, match="predicts grade, of which the manifest has no labels; it has: nodule"):
        collect_cases(StandIn(label_set), read_split(run, manifest, "test"))
    rows = [replace(row, targets={"grade": "Mild"}) for row in read_manifest(manifest)]
    write_manifest(manifest, rows)
    assert collect_cases(StandIn(label_set), read_split(run, manifest, "test")).cases[0].target_values == {"grade": 1.0}
    write_manifest(manifest, [replace(row, targets={"grade": "grave"}) for row in rows])
    with pytest.raises(ManifestError, match="target grade: expected one of none, mild, found 'grave'"):
        collect_cases(StandIn(label_set), read_split(run, manifest, "test"))
