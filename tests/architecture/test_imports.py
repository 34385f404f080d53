"""The import rule of pyproject.toml holds, and importing the package costs nothing."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

FOUND_NOWHERE = ("utils", "common", "core", "helpers", "misc")


def test_import_linter_keeps_every_contract(checkout: Path) -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken." in done.stdout


def test_the_rule_is_exhaustive_and_names_what_exists(checkout: Path) -> None:
    settings = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (one for one in settings["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    assert layers["exhaustive"] is True
    named = {name.strip() for line in layers["layers"] for name in line.split("|")}
    package = checkout / "medfuse"
    existing = {path.parent.name for path in package.glob("*/__init__.py")} | {
        path.stem for path in package.glob("*.py")
    }
    assert named == existing - {"__init__"}


def test_importing_medfuse_loads_no_third_party() -> None:
    code = "import sys; before = set(sys.modules); import medfuse; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['medfuse']"


@pytest.mark.parametrize("name", FOUND_NOWHERE)
def test_no_module_has_a_name_that_says_nothing(checkout: Path, name: str) -> None:
    for top in ("medfuse", "apps", "tests"):
        assert not [*(checkout / top).rglob(name), *(checkout / top).rglob(f"{name}.py")]
