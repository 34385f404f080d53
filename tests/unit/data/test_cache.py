"""The case cache: equal to what is made anew, made anew when anything changes, private, safe side by side."""

import json
import os
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medfuse.data import cache as module
from medfuse.data import cases
from medfuse.data.cases import read_cases
from medfuse.data.samples import Case
from medfuse.domain import LabelSet, LabelValue
from medfuse.ingest import find_studies
from medfuse.ingest.manifest import ManifestRow, row_of
from medfuse.preprocess import ChannelRule, Recipe
from medfuse.preprocess.intensity import Window
from medfuse.storage import sweep

LABELS = LabelSet(findings=("large",), segments=("tail", "head"))
RECIPE = Recipe(channels=(ChannelRule(name="a"),), spacing_mm=(1, 1, 1.5), size=(8, 8, 8))


@pytest.fixture
def row(tmp_path: Path) -> ManifestRow:
    """A study in the Decathlon's layout, whose table names the regions."""
    root = tmp_path / "Task_DOE^JANE"
    random = np.random.default_rng(0)
    truth = np.zeros((9, 8, 6), dtype=np.uint8)
    truth[2:5, 2:5, 1:5] = 2
    truth[6:8, 2:4, 1:5] = 1
    for folder, voxels in (("imagesTr", random.normal(50, 9, truth.shape).astype(np.float32)), ("labelsTr", truth)):
        (root / folder).mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1, 1.2, 1])), root / folder / "case_001.nii.gz")
    table = {
        "name": "made",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "head", "2": "tail"},
        "training": [{"image": "./imagesTr/case_001.nii.gz", "label": "./labelsTr/case_001.nii.gz"}],
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(table))
    (study,) = find_studies(root).studies
    return row_of(study, root, {"large": LabelValue.PRESENT})


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each study that was really read."""
    count: list[int] = []
    prepare = cases.prepare_study

    def counting(*given: object) -> object:
        count.append(1)
        return prepare(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(cases, "prepare_study", counting)
    return count


def read(row: ManifestRow, cache: Path | None, recipe: Recipe = RECIPE, labels: LabelSet = LABELS) -> Case:
    module._tables_in.cache_clear()
    (case,) = read_cases([row], recipe, labels, cache=cache).cases.values()
    return case


def assert_equal(one: Case, other: Case) -> None:
    assert one.image.tobytes() == other.image.tobytes()
    assert one.image.dtype == other.image.dtype == np.float32
    assert one.truth is not None
    assert other.truth is not None
    assert one.truth.tobytes() == other.truth.tobytes()
    for name in ("study_instance_uid", "text", "labels", "voxel_volume_ml", "floor"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.channel_present.tolist() == other.channel_present.tolist()


def larger(case: Case) -> int:
    """The number of the segment with more voxels."""
    assert case.truth is not None
    _, first, second = np.bincount(case.truth.ravel(), minlength=3)
    assert first
    assert second
    return 1 if first > second else 2


def only_entry(cache: Path) -> Path:
    (entry,) = cache.glob("*/[!.]*")
    return entry


def test_a_case_from_the_cache_is_the_one_made_anew_bit_for_bit_and_stays_on_the_disk(
    row: ManifestRow, tmp_path: Path, prepared: list[int]
) -> None:
    anew = read(row, None)
    assert len(prepared) == 1
    for times in (2, 2):
        kept = read(row, tmp_path / "cache")
        assert_equal(kept, anew)
        assert isinstance(kept.image, np.memmap)
        assert isinstance(kept.truth, np.memmap)
        assert len(prepared) == times
    assert larger(anew) == 1  # the table calls the larger region the tail, which is the first segment


def test_what_changes_the_arrays_makes_a_new_entry_and_what_does_not_does_not(
    row: ManifestRow, tmp_path: Path, prepared: list[int]
) -> None:
    cache = tmp_path / "cache"
    read(row, cache)
    read(row, cache, Recipe(channels=RECIPE.channels, spacing_mm=RECIPE.spacing_mm, size=(4, 4, 4)))
    assert len(prepared) == 1
    windowed = (ChannelRule(name="a", window=Window(low=0, high=100)),)
    read(row, cache, Recipe(channels=windowed, spacing_mm=RECIPE.spacing_mm, size=RECIPE.size))
    assert len(prepared) == 2
    turned = read(row, cache, labels=LabelSet(segments=("head", "tail"), findings=("large",)))
    assert len(prepared) == 3
    assert larger(turned) == 2


@pytest.mark.parametrize("changed", ["imagesTr/case_001.nii.gz", "labelsTr/case_001.nii.gz", "dataset.json"])
def test_a_source_that_changed_is_read_again(
    row: ManifestRow, tmp_path: Path, prepared: list[int], changed: str
) -> None:
    read(row, tmp_path / "cache")
    os.utime(row.path / changed, ns=(1, 1))
    read(row, tmp_path / "cache")
    assert len(prepared) == 2


def test_a_table_that_changed_changes_the_truth(row: ManifestRow, tmp_path: Path) -> None:
    before = read(row, tmp_path / "cache")
    table = row.path / "dataset.json"
    table.write_text(table.read_text().replace('"head"', '"x"').replace('"tail"', '"head"').replace('"x"', '"tail"'))
    after = read(row, tmp_path / "cache")
    assert (larger(before), larger(after)) == (1, 2)


@pytest.mark.parametrize("file", ["image.npy", "truth.npy", "case.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "gone", "link"])
def test_a_damaged_entry_is_made_anew(
    row: ManifestRow, tmp_path: Path, prepared: list[int], file: str, harm: str
) -> None:
    cache = tmp_path / "cache"
    anew = read(row, cache)
    path = only_entry(cache) / file
    content = bytearray(path.read_bytes())
    path.unlink()
    if harm == "flip":
        content[-3] ^= 1
        path.write_bytes(content)
    elif harm == "link":
        path.symlink_to(path)
    elif harm != "gone":
        path.write_bytes(content[:-5] if harm == "cut" else b"")
    assert_equal(read(row, cache), anew)
    assert len(prepared) == 2
    assert_equal(read(row, cache), anew)
    assert len(prepared) == 2


def test_an_entry_of_another_study_or_of_other_code_is_not_believed(
    row: ManifestRow, tmp_path: Path, prepared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    read(row, cache)
    entry = only_entry(cache)
    entry.rename(entry.with_name("0" * 32))
    monkeypatch.setattr(module, "study_key", lambda study: "0" * 32)
    read(row, cache)
    assert len(prepared) == 2
    monkeypatch.setattr(module, "_stamp", lambda: "another version")
    read(row, cache)
    assert len(prepared) == 3


def test_nobody_is_named_and_only_the_user_may_read(row: ManifestRow, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (row.path / "imagesTr" / "case_001.txt").write_text("HISTORY: Jane Doe, 74.")
    read(row, cache)
    for path in (cache, *cache.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path.name
        whole = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
        for name in (b"DOE", b"Doe", b"JANE", b"case_001", row.study_instance_uid.encode(), b"tail", b"Tr"):
            assert name not in whole, (path.name, name)


def test_processes_side_by_side_do_not_disturb_each_other(row: ManifestRow, tmp_path: Path) -> None:
    cache, anew, found = tmp_path / "cache", read(row, None), []
    threads = [threading.Thread(target=lambda: found.append(read(row, cache))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    for case in found:
        assert_equal(case, anew)
    sweep(only_entry(cache).parent)
    assert list(cache.glob("*/.*")) == []
    assert_equal(read(row, cache), anew)


def test_a_cache_that_cannot_be_written_is_said_and_does_without(
    row: ManifestRow, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    assert_equal(read(row, in_the_way), read(row, None))
    assert "data.cache" in caplog.text
