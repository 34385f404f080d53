"""The folder of results that the dashboard's tests open."""

import shutil
from pathlib import Path

import pytest

from tests.apps.scored_folder import write_scored_folder


@pytest.fixture(scope="session")
def _scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as it was made; nobody changes it."""
    return write_scored_folder(tmp_path_factory.mktemp("scored"))


@pytest.fixture
def scored_folder(tmp_path: Path, _scored: Path) -> Path:
    """A folder of results over DICOM files of its own, which the test may break."""
    whole = shutil.copytree(_scored.parent, tmp_path / "scored")
    return whole / "results"
