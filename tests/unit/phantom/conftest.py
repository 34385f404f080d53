from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import pytest

from medfuse.phantom import PhantomTruth, write_phantom

FamilyName = Literal["chest_ct", "brain_mr"]


@dataclass(frozen=True)
class Made:
    """A written set and what is true of it."""

    root: Path
    truth: PhantomTruth


def _make(family: FamilyName, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("phantom") / family
    return Made(root=root, truth=write_phantom(family, root, studies=14, seed=5))


@pytest.fixture(scope="session")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return _make("chest_ct", tmp_path_factory)


@pytest.fixture(scope="session")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return _make("brain_mr", tmp_path_factory)


@pytest.fixture(params=["chest", "brain"])
def made(request: pytest.FixtureRequest) -> Made:
    """Each family in turn."""
    value = request.getfixturevalue(request.param)
    return cast(Made, value)
