"""The wheel carries the dashboard and the configs, and its `medfuse` works away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(checkout)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("medfuse-*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as pip installs it, without its dependencies, which the environment of the tests has."""
    folder = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return folder


def run(site: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=site, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_what_it_needs_and_no_more(wheel: Path, checkout: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "medfuse/py.typed" in names
    for folder in ("apps", "configs"):
        wanted = {
            f"medfuse/_bundled/{path.relative_to(checkout).as_posix()}"
            for path in (checkout / folder).rglob("*")
            if path.is_file() and path.suffix in {".py", ".yaml", ".toml"}
        }
        assert wanted
        assert wanted <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"medfuse"}


def test_the_command_of_the_wheel_works(site: Path) -> None:
    assert "score" in run(site, "-m", "medfuse.cli.main", "--help")
    assert "dashboard" in run(site, "-m", "medfuse.cli.main", "review", "--help")
    assert (site / "bin" / "medfuse").exists() or (site / "Scripts" / "medfuse.exe").exists()


def test_the_wheel_finds_its_bundle(site: Path) -> None:
    code = "from medfuse.bundled import apps_directory; print(apps_directory())"
    where = Path(run(site, "-c", code).strip())
    assert where == site / "medfuse" / "_bundled" / "apps"
    assert (where / "viewer" / "app.py").is_file()
