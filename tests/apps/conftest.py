"""The folder of results that the dashboard's tests open."""

from pathlib import Path

import pytest

from tests.apps.scored_folder import write_scored_folder


@pytest.fixture
def scored_folder(tmp_path: Path) -> Path:
    """A folder of results over DICOM files of its own, which the test may break."""
    return write_scored_folder(tmp_path)
