"""Every config that ships with medfuse loads, says how to run it, and builds its network."""

from pathlib import Path

import pytest

from medfuse.config.load import config_sha256, load_config, resolved_yaml
from medfuse.config.schema import TrainConfig
from medfuse.model import assemble

ROOT = Path(__file__).resolve().parents[2]
TRAIN_CONFIGS = sorted((ROOT / "configs" / "train").glob("*.yaml"))


def test_there_are_configs() -> None:
    assert TRAIN_CONFIGS


@pytest.mark.parametrize("path", TRAIN_CONFIGS, ids=lambda path: path.stem)
def test_a_config_opens_with_the_command_that_runs_it(path: Path) -> None:
    opening = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert opening.startswith("# medfuse ")
    assert f"medfuse train {path.relative_to(ROOT).as_posix()} --output " in opening


@pytest.mark.parametrize("path", TRAIN_CONFIGS, ids=lambda path: path.stem)
def test_a_config_loads_and_its_resolved_form_is_the_same(path: Path, tmp_path: Path) -> None:
    config = load_config(path, [], TrainConfig)
    resolved = tmp_path / "config.yaml"
    resolved.write_text(resolved_yaml(config), encoding="utf-8")
    again = load_config(resolved, [], TrainConfig)
    assert again == config
    assert config_sha256(again) == config_sha256(config)


@pytest.mark.parametrize("path", TRAIN_CONFIGS, ids=lambda path: path.stem)
def test_a_config_builds_its_network(path: Path) -> None:
    config = load_config(path, [], TrainConfig)
    network = assemble(config.model.spec(), config.labels, len(config.recipe.channels))
    assert any(parameter.requires_grad for parameter in network.parameters())
