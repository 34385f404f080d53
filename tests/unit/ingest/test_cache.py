"""The index cache: it changes no answer, spares the reading, holds nobody's name, and is never trusted blindly."""

import json
import os
import shutil
import stat
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medfuse.domain import pseudonym
from medfuse.ingest import ScanResult, cache_entries, file_kinds, find_studies
from medfuse.ingest import cache as cache_module
from tests.unit.ingest.made_dicom import image, ramp, save, slices, uid, write_series

SECRETS = ("PATIENT-7", "Planted", "ACC-1", "Mr Secret", "secret-folder", "secret-file", "memory is failing")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three studies with whatever a cache has to give back: parts, reports, SEG, problems, rejected ones."""
    root = tmp_path / "data"
    first = root / "secret-folder Mr Secret"
    write_series(first / "ct")
    (first / "report.txt").write_text("HISTORY: memory is failing\n")
    save(image(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG", SOPInstanceUID=uid("g")), first / "seg")
    (first / "ct" / "secret-file.dcm").write_text("no DICOM " * 30)
    shutil.copy(first / "ct" / "001", first / "ct" / "zz copy")
    two = slices(ramp((5, 4, 6)), StudyInstanceUID=uid("b"), SeriesInstanceUID=uid("b", 1), PatientID="PATIENT-8")
    for k, dataset in enumerate(two):
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0] if k < 3 else [0, 1, 0, 0, 0, -1]
        save(dataset, root / "b" / f"{k}")
    lost = slices(ramp(), StudyInstanceUID=uid("c"), SeriesInstanceUID=uid("c", 1), AccessionNumber="ACC-9")
    for k, dataset in enumerate(lost):
        del dataset.PixelSpacing
        save(dataset, root / "c" / f"secret-file {k}")
    (root / "c" / "secret-file.pdf").write_text("x" * 200)
    return root


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The names of the files whose headers are read."""
    count: Counter[str] = Counter()
    for module in (file_kinds, cache_entries):
        real = module.open_file

        def open_file(path: Path, *args, real=real, **how):
            count[path.name] += 1
            return real(path, *args, **how)

        monkeypatch.setattr(module, "open_file", open_file)
    return count


def check_answer(found: ScanResult, fresh: ScanResult) -> None:
    assert found == fresh
    assert repr(found) == repr(fresh)


def test_an_unchanged_tree_is_read_from_the_cache(tree: Path, kept: Path, opened: Counter[str]) -> None:
    fresh = find_studies(tree, cache=None)
    assert len(fresh.studies) == 2
    assert any(series.part for study in fresh.studies for series in study.series)
    assert {one.reason for one in fresh.rejected} == {"MISSING_GEOMETRY"}
    check_answer(find_studies(tree, cache=kept), fresh)
    opened.clear()
    check_answer(find_studies(tree, cache=kept), fresh)
    assert opened.total() == 3, "one header a study, for the patient"


def test_only_changed_files_are_read_again(tree: Path, kept: Path, opened: Counter[str]) -> None:
    find_studies(tree, cache=kept)
    changed = tree / "b" / "1"
    changed.write_bytes(changed.read_bytes().replace(b"PATIENT-8", b"PATIENT-9"))
    (tree / "b" / "0").unlink()
    (more,) = slices(ramp((5, 4, 1)), StudyInstanceUID=uid("d"), SeriesInstanceUID=uid("d", 1))
    save(more, tree / "new")
    opened.clear()
    found = find_studies(tree, cache=kept)
    assert {"1", "new"} <= opened.keys()
    assert opened.total() <= 2 + 4, "those two, and one header for each patient and accession number"
    check_answer(found, find_studies(tree, cache=None))
    assert "MIXED_PATIENTS" in {one.reason for one in found.rejected}
    check_answer(find_studies(tree, cache=kept), found)


def test_a_patient_is_told_by_the_files_themselves(tree: Path, kept: Path) -> None:
    find_studies(tree, cache=kept)
    (study,) = (one for one in find_studies(tree, cache=kept).studies if one.study_instance_uid == uid("study"))
    assert (study.patient_key, study.accession_number) == (pseudonym("PATIENT-7"), "ACC-1")


def test_reports_are_read_again(tree: Path, kept: Path) -> None:
    find_studies(tree, cache=kept)
    (tree / "secret-folder Mr Secret" / "report.txt").write_text("HISTORY: all is well\n")
    texts = [report.text for study in find_studies(tree, cache=kept).studies for report in study.reports]
    assert texts == ["HISTORY: all is well\n"]


def test_it_holds_no_name_number_or_text(tree: Path, kept: Path) -> None:
    find_studies(tree, cache=kept)
    content = b"".join(path.read_bytes() for path in kept.iterdir())
    assert content
    for secret in (*SECRETS, "PATIENT-8", "ACC-9", pseudonym("PATIENT-7"), tree.name):
        assert secret.encode() not in content, secret


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_the_user_may_read_it(tree: Path, kept: Path) -> None:
    before = os.umask(0)
    try:
        find_studies(tree, cache=kept)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept.iterdir()} == {0o600}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(bytes(data))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    path.write_bytes(b'{"something": ["else"]}\n[1]\n')


def _older(path: Path) -> None:
    head, body = path.read_bytes().split(b"\n", 1)
    told = json.loads(head)
    told[0] = "medfuse index 0"
    path.write_bytes(json.dumps(told).encode() + b"\n" + body)


def _binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 9)


@pytest.mark.parametrize("damage", [_cut, _flip, _empty, _foreign, _older, _binary])
def test_a_cache_that_cannot_be_trusted_is_written_anew(tree: Path, kept: Path, damage, opened: Counter[str]) -> None:
    fresh = find_studies(tree, cache=kept)
    for path in kept.iterdir():
        damage(path)
    check_answer(find_studies(tree, cache=kept), fresh)
    opened.clear()
    check_answer(find_studies(tree, cache=kept), fresh)
    assert opened.total() == 3


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"drafts": [{}]},
        {"drafts": None},
        {"skipped": [1]},
        {"drafts": [{"uid": "1", "patient": 9999, "accession": None}]},
    ],
)
def test_well_formed_nonsense_is_no_answer(tree: Path, kept: Path, entry: dict[str, object]) -> None:
    fresh = find_studies(tree, cache=kept)
    (path,) = kept.glob("*.tree.json")
    body = json.loads(path.read_bytes().split(b"\n", 1)[1])
    cache_module._write(path, {"tree": body["tree"], "drafts": [], "skipped": {}, **entry} if entry else {"a": 1})
    if entry:
        check_answer(find_studies(tree, cache=kept), fresh)
    (files,) = kept.glob("*.files.json")
    cache_module._write(files, {"files": {"x": 1}, "schemas": 3, "values": {}})
    cache_module._write(path, {"a": 1})
    check_answer(find_studies(tree, cache=kept), fresh)


def test_a_newer_medfuse_reads_everything_again(tree: Path, kept: Path, opened, monkeypatch) -> None:
    find_studies(tree, cache=kept)
    opened.clear()
    monkeypatch.setattr(cache_module, "_stamp", lambda: "another")
    find_studies(tree, cache=kept)
    assert opened.total() > 10


def test_runs_side_by_side_do_not_disturb_each_other(tree: Path, kept: Path) -> None:
    fresh = find_studies(tree, cache=None)
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda _: find_studies(tree, cache=kept), range(12)):
            check_answer(found, fresh)
    assert sorted(path.suffixes[0] for path in kept.iterdir()) == [".files", ".tree"]


def test_a_place_that_cannot_be_written_is_no_error(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_answer(find_studies(tree, cache=tmp_path / "file" / "below"), find_studies(tree, cache=None))


def test_small_trees_and_none_keep_nothing(tree: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache_module.CACHE_VARIABLE, str(kept))
    find_studies(tree)
    find_studies(tree, cache=None)
    assert not kept.exists()
    monkeypatch.setattr(cache_module, "LEAST_FILES", 5)
    find_studies(tree)
    assert len(list(kept.iterdir())) == 2


def test_the_trees_looked_at_last_are_kept(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_MOST_TREES", 2)
    for name in "abc":
        write_series(tmp_path / name)
        find_studies(tmp_path / name, cache=kept)
    assert len(list(kept.glob("*.tree.json"))) == len(list(kept.glob("*.files.json"))) == 2


def test_links_and_permissions_count_as_changes(tree: Path, kept: Path) -> None:
    fresh = find_studies(tree, cache=kept)
    target = tree / "b" / "2"
    content, times = target.read_bytes(), target.stat()
    target.write_bytes(content.replace(b"PATIENT-8", b"PATIENT-5"))
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert find_studies(tree, cache=kept) != fresh
