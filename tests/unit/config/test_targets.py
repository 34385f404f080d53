"""`labels.targets` of a training config."""

from pathlib import Path

import pytest

from medfuse.config.load import config_sha256, load_config, resolved_yaml
from medfuse.config.schema import TrainConfig
from medfuse.domain import Target, TargetKind
from medfuse.errors import ConfigError

HEAD = "name: a\nrecipe: {channels: [{name: t1, modality: MR}], spacing_mm: [1, 1, 1], size: [8, 8, 8]}\n"


def written(tmp_path: Path, targets: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(f"{HEAD}labels: {{findings: [mass], targets: [{targets}]}}\n", encoding="utf-8")
    return path


def test_each_kind_is_read_and_written_back(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "{name: subtype, kind: CLASSES, classes: [a, b, c]}, {name: grade, kind: GRADES, classes: ['1', '2']}, "
        "{name: age, kind: NUMBER, unit: years}",
    )
    config = load_config(path, ["training.target_weight=0.5", "training.target_balance=inverse"], TrainConfig)
    assert config.labels.targets == (
        Target(name="subtype", kind=TargetKind.CLASSES, classes=("a", "b", "c")),
        Target(name="grade", kind=TargetKind.GRADES, classes=("1", "2")),
        Target(name="age", kind=TargetKind.NUMBER, unit="years"),
    )
    (tmp_path / "again.yaml").write_text(resolved_yaml(config), encoding="utf-8")
    again = load_config(tmp_path / "again.yaml", [], TrainConfig)
    assert (again.labels, again.training) == (config.labels, config.training)
    assert config_sha256(again) == config_sha256(config)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("{name: grade, kind: GRADES, classes: [1, 2]}", r"labels\.targets\.0\.classes\.0"),
        ("{name: grade, kind: GRADE, classes: ['1', '2']}", r"labels\.targets\.0\.kind"),
        ("{name: grade, kind: GRADES, classes: ['1']}", "grade needs two or more named classes"),
        ("{name: age, kind: NUMBER, classes: [a, b]}", "age is a number and has no classes"),
        ("{name: mass, kind: NUMBER}", "findings and targets must be unique"),
        ("{name: age, kind: NUMBER, units: years}", r"labels\.targets\.0\.units"),
    ],
)
def test_nonsense_is_refused_with_its_key(tmp_path: Path, targets: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(written(tmp_path, targets), [], TrainConfig)
    assert "\n" not in str(caught.value)
