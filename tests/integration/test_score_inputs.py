"""What `medfuse score` takes: a manifest, several checkpoints, a policy; and that it says so when it cannot."""

from pathlib import Path

import pytest

from medfuse.cli.main import main
from medfuse.outputs import read_prediction, read_scores
from medfuse.preprocess.ranges import ChannelRange, TrainingRanges
from tests import dicom_cases
from tests.integration.score_parts import write_checkpoint

PLAIN = ("--one-process", "--engine", "pytorch", "--precision", "fp32", "--outputs", "nifti")
RANGES = TrainingRanges(
    n_studies=9, channels={"ct": ChannelRange(n_studies=9, modalities=("CT",), slices=(40, 60), body_parts=("CHEST",))}
)


def medfuse(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints, one of which knows its training studies, and two studies."""
    folder = tmp_path_factory.mktemp("inputs")
    write_checkpoint(folder / "one", ranges=RANGES)
    write_checkpoint(folder / "two", seed=1)
    for name in ("a", "b"):
        truth = dicom_cases.truth_of((20, 18, 12), seed=len(name), spacing=(1.0, 1.0, 1.0))
        tags = {"StudyInstanceUID": dicom_cases.uid("study", name), "PatientID": name, "BodyPartExamined": "CHEST"}
        dicom_cases.write(dicom_cases.slices(truth, series=name, **tags), folder / "studies" / name)
    return folder


def test_a_manifest_is_scored_and_goes_on(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, output = tmp_path / "manifest.csv", tmp_path / "out"
    assert medfuse("index", root / "studies", "--output", manifest) == 0
    for said in ("2 scored", "2 already scored by this model"):
        assert medfuse("score", root / "two", manifest, "--output", output, *PLAIN) == 0
        assert said in " ".join(capsys.readouterr().err.split())
    assert [row.status for row in read_scores(output / "scores.csv")] == ["scored", "scored"]


def test_several_checkpoints_answer_as_one(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    chances = []
    for name in ("one", "two"):
        medfuse("score", root / name, root / "studies" / "a", "--output", tmp_path / name, *PLAIN)
        (row,) = read_scores(tmp_path / name / "scores.csv")
        chances.append(row.probabilities["lesion"])
    assert medfuse("score", root / "one", root / "two", root / "studies" / "a", "--output", output, *PLAIN) == 0
    (row,) = read_scores(output / "scores.csv")
    assert row.probabilities["lesion"] == pytest.approx(sum(chances) / 2, abs=1e-4)
    assert row.spreads["lesion"] == pytest.approx(abs(chances[0] - chances[1]) / 2, abs=1e-4)


def test_a_study_unlike_training_is_flagged_or_rejected(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = ("score", root / "one", root / "studies", "--output", output, *PLAIN)
    assert medfuse(*command) == 0
    prediction = read_prediction(next(output.glob("*/prediction.json")))
    assert [flag.code for flag in prediction.quality] == ["TOO_FEW_SLICES"]
    assert medfuse(*command, "--reject-flags", "TOO_FEW_SLICES") == 1
    assert {row.reason for row in read_scores(output / "scores.csv")} == {"TOO_FEW_SLICES"}
    policy = tmp_path / "policy.yaml"
    policy.write_text("TOO_FEW_SLICES: ignore\n")
    assert medfuse(*command, "--gates", policy) == 0
    assert read_prediction(next(output.glob("*/prediction.json"))).quality == ()


@pytest.mark.parametrize(
    "more",
    [
        ("--outputs", "hologram"),
        ("--engine", "steam"),
        ("--reject-flags", "NO_SUCH_GATE"),
        ("--gates", "nowhere.yaml"),
        ("--device", "abacus"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    root: Path, tmp_path: Path, more: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*PLAIN[:1], *more]
    assert medfuse("score", root / "two", root / "studies", "--output", tmp_path / "out", *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error:")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("run",),
        ("run", "https://localhost/dicom-web"),
        ("run", "nobody?StudyDate=20240101"),
        ("run", "studies.csv"),
    ],
)
def test_an_input_that_is_none_is_refused(
    root: Path, tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [root / "two" if word == "run" else word for word in words]
    assert medfuse("score", *given, "--output", tmp_path / "out") == 2
    assert capsys.readouterr().err.startswith("error:")
    assert not (tmp_path / "out").exists()


def test_the_status_of_no_run_is_refused(tmp_path: Path) -> None:
    assert medfuse("score", "--status", tmp_path) == 2
    assert medfuse("score", "--status", tmp_path / "nowhere") == 2
