"""`medfuse plan`: a manifest -> a config that `medfuse train` takes as it is."""

import json
from pathlib import Path

import pytest

from medfuse.cli.main import main
from medfuse.config.load import load_config
from medfuse.config.schema import TrainConfig
from medfuse.phantom import write_phantom


def medfuse(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of made brain MR studies."""
    folder = tmp_path_factory.mktemp("plan")
    write_phantom("brain_mr", folder / "studies", studies=12, seed=3)
    manifest = folder / "manifest.csv"
    assert medfuse("index", folder / "studies", "--labels", folder / "studies" / "labels.csv", "-o", manifest) == 0
    return manifest


def test_training_takes_the_plan_without_an_edit(
    brain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "brain.yaml"
    assert medfuse("plan", brain, "--output", path, "--memory", "0.02", "--time", "0.2") == 0
    said = capsys.readouterr()
    config = load_config(path, [], TrainConfig)

    assert "looked at 12 of 12 studies" in said.out
    assert "s a step as timed on this machine" in " ".join(said.err.split())
    assert {rule.name for rule in config.recipe.channels} == {"t1", "t1ce", "flair", "t2"}
    assert config.labels.segments == ("lesion_core", "edema")
    assert config.model.image is not None
    assert config.training.epochs >= 1
    document = json.loads(path.with_suffix(".fingerprint.json").read_text(encoding="utf-8"))
    assert document["looked_at"] == 12

    monkeypatch.chdir(tmp_path)
    if config.training.epochs == 1:
        assert medfuse("train", path, "--output", tmp_path / "run") == 0
    else:
        assert medfuse("train", path, "--output", tmp_path / "run", "--set", "training.epochs=1") == 0
    assert (tmp_path / "run" / "best" / "checkpoint.json").is_file()


def test_the_same_manifest_gives_the_same_plan(brain: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert medfuse("plan", brain, "--output", tmp_path / name / "brain.yaml", "--studies", "5") == 0

    for name in ("brain.yaml", "brain.fingerprint.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert "5 were looked at" in (tmp_path / "one" / "brain.yaml").read_text(encoding="utf-8").replace("\n# ", " ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks the column study_instance_uid"),
        ("name,age\nA,3\n", "lacks the column study_instance_uid"),
        (None, "No such file"),
    ],
)
def test_a_bad_manifest_is_one_line(
    text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "m.csv"
    if text is not None:
        manifest.write_text(text)

    assert medfuse("plan", manifest, "--output", tmp_path / "c.yaml") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not (tmp_path / "c.yaml").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "c.json"], "expected the name of a .yaml file"),
        (["--output", "nowhere/c.yaml"], "its folder does not exist"),
        (["--output", "c.yaml", "--time", "0"], "--time is 0; expected a number above 0"),
        (["--output", "c.yaml", "--memory", "-1"], "--memory is -1; expected a number above 0"),
    ],
)
def test_wrong_use_is_one_line(
    options: list[str],
    said: str,
    brain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert medfuse("plan", brain, *options) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.realdata
def test_the_hippocampus_gets_nnunets_patch(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "hippocampus"
    manifest = tmp_path / "m.csv"
    assert medfuse("index", source / "dicom", "--labels", source / "labels.csv", "-o", manifest) == 0
    assert medfuse("plan", manifest, "--output", tmp_path / "c.yaml", "--studies", "40") == 0
    config = load_config(tmp_path / "c.yaml", [], TrainConfig)

    assert config.recipe.spacing_mm == (1.0, 1.0, 1.0)
    assert config.recipe.size == (40, 56, 40)
    assert set(config.labels.segments) == {"anterior hippocampus", "posterior hippocampus"}
    assert len(config.labels.findings) == 3
    assert (config.data.folds, config.data.validation_fraction) == (5, 0.125)
