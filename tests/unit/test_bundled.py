"""The dashboard and the configs are found in a checkout; the wheel is tested in tests/architecture/test_wheel.py."""

from pathlib import Path

import pytest

from medfuse import bundled


def test_a_checkout_is_its_own_bundle(checkout: Path) -> None:
    assert bundled.bundle_root() == checkout
    assert bundled.apps_directory() == checkout / "apps"
    assert bundled.configs_directory() == checkout / "configs"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shipped = tmp_path / "site" / "medfuse" / "_bundled" / "configs" / "train" / "x.yaml"
    shipped.parent.mkdir(parents=True)
    shipped.write_text("a: 1", encoding="utf-8")
    (tmp_path / "site" / "medfuse" / "_bundled" / "secret.yaml").write_text("a: 1", encoding="utf-8")
    monkeypatch.setattr(bundled, "_PACKAGE", tmp_path / "site" / "medfuse")
    monkeypatch.chdir(tmp_path)
    return shipped


def test_a_shipped_config_is_found_from_any_folder(installed: Path) -> None:
    assert bundled.find_config(Path("configs/train/x.yaml")) == installed
    assert bundled.find_config(Path("train/x.yaml")) == installed


def test_a_file_of_the_users_comes_first(installed: Path, tmp_path: Path) -> None:
    own = tmp_path / "train" / "x.yaml"
    own.parent.mkdir()
    own.write_text("a: 2", encoding="utf-8")
    assert bundled.find_config(Path("train/x.yaml")) == Path("train/x.yaml")


@pytest.mark.parametrize("path", ["train/y.yaml", "configs/../secret.yaml", "../secret.yaml", "train"])
def test_nothing_else_is_found(installed: Path, path: str) -> None:
    assert bundled.find_config(Path(path)) == Path(path)


def test_an_absolute_path_is_never_replaced(installed: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone.yaml"
    assert bundled.find_config(gone) == gone
