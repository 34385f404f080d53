"""Which importer a folder gets: plug-ins first, no looking far, nothing raised."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from medfuse.errors import UsageError
from medfuse.ingest.importers import IMPORTERS, Importer, base, find_importer
from medfuse.ingest.importers.files import glance, look_down
from medfuse.ingest.scan import ScanResult
from medfuse.registry import Registry
from tests.importer_layouts import decathlon, totalsegmentator


def test_a_plugin_takes_a_layout_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine: Registry[Importer] = Registry("importer")
    for name in IMPORTERS.names():
        mine.register(name)(IMPORTERS.get(name))

    @mine.register("zz_ours")
    class Ours(Importer):
        name = "zz_ours"

        def matches(self, root: Path) -> bool:
            return (root / "dataset.json").is_file()

        def studies(self, root: Path) -> ScanResult:
            return ScanResult(studies=())

    monkeypatch.setattr(base, "IMPORTERS", mine)
    decathlon(tmp_path)
    found = find_importer(tmp_path)
    assert isinstance(found, Ours)
    assert found.labels(tmp_path, ()) is None


@pytest.fixture
def no_plugins_loaded() -> Iterator[None]:
    base.load_plugins.cache_clear()
    yield
    base.load_plugins.cache_clear()


@pytest.mark.usefixtures("no_plugins_loaded")
def test_installed_packages_bring_importers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "our_trial.py").write_text("LOADED = True\n")
    points = [EntryPoint("our_trial", "our_trial", base.PLUGIN_GROUP)]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(base, "entry_points", lambda group: points if group == base.PLUGIN_GROUP else [])
    find_importer(tmp_path)
    assert sys.modules.pop("our_trial").LOADED


@pytest.mark.usefixtures("no_plugins_loaded")
def test_a_package_that_is_broken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("our_trial", "not_there_at_all:x", base.PLUGIN_GROUP)]
    monkeypatch.setattr(base, "entry_points", lambda **_: points)
    with pytest.raises(UsageError, match="importer our_trial of an installed package"):
        find_importer(tmp_path)


def test_a_file_and_a_place_that_is_not_there_have_none(tmp_path: Path) -> None:
    (tmp_path / "a.nii").touch()
    assert find_importer(tmp_path / "a.nii") is None
    assert find_importer(tmp_path / "gone") is None
    assert find_importer(tmp_path) is None


def test_a_large_folder_is_not_listed_whole(tmp_path: Path) -> None:
    for n in range(30):
        (tmp_path / f"f{n}").touch()
    (tmp_path / ".hidden").touch()
    assert len(glance(tmp_path, most=7)) == 7
    assert len(glance(tmp_path)) == 30
    assert glance(tmp_path / "gone") == []


def test_looking_down_ends_at_its_depth_and_number(tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / f"a{n}" / "b" / "c" / "d").mkdir(parents=True)
    assert max(len(path.relative_to(tmp_path).parts) for path, _ in look_down(tmp_path, depth=2, most=99)) == 2
    assert len(list(look_down(tmp_path, depth=2, most=99))) == 11
    assert len(list(look_down(tmp_path, depth=4, most=4))) == 4


def test_one_subject_is_a_layout_too(tmp_path: Path) -> None:
    totalsegmentator(tmp_path)
    found = find_importer(tmp_path / "s0001")
    assert found is not None
    assert found.name == "totalsegmentator"
    assert [study.accession_number for study in found.studies(tmp_path / "s0001").studies] == ["s0001"]
