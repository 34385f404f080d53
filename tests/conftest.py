"""What every test may ask for."""

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The read-only folder of real data; tests that use it carry the marker `realdata` and are skipped without it."""
    told = os.environ.get("MEDFUSE_SHARED_DATA")
    folder = Path(told) if told else CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: set MEDFUSE_SHARED_DATA, or lay it at ../shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the source tree under test."""
    return CHECKOUT
