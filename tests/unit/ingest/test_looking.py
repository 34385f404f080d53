"""A second process changes no answer, whatever becomes of it, and nobody's name is in what it says of a header."""

import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from medfuse.ingest import find_studies, looking
from medfuse.ingest.dicom.scan import Instance
from medfuse.ingest.records import RecordWriter
from medfuse.ingest.tree import FoundFile, Tree, list_tree
from tests.dicom_cases import save_bare
from tests.unit.ingest.made_dicom import image, ramp, save, slices, uid, write_series


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Files of every kind."""
    root = tmp_path / "data"
    for n in range(6):
        write_series(root / f"study {n}" / "ct", StudyInstanceUID=uid("s", n), SeriesInstanceUID=uid("s", n, 1))
    for k, dataset in enumerate(slices(ramp(), PatientID="PATIENT-8", StudyInstanceUID=uid("b"))):
        save_bare(dataset, root / "b" / f"{k}")
    save(image(SOPInstanceUID=uid("cut")), root / "b" / "whole")
    (root / "b" / "cut.dcm").write_bytes((root / "b" / "whole").read_bytes()[:200])
    (root / "b" / "no.dcm").write_text("no DICOM " * 30)
    (root / "b" / "report.txt").write_text("HISTORY: memory is failing\n")
    (root / "b" / os.fsdecode(b"n\xf8n ascii.txt")).write_text("HISTORY: cough\n")
    (root / "c.nii.gz").write_bytes(b"\x1f\x8b")
    shutil.copy(root / "b" / "whole", root / "b" / "whole again")
    return list_tree(root)


def kinds(files: Sequence[FoundFile]) -> list[object]:
    """What the files are, without the headers behind it: they are other records of the same values there."""
    return [what._replace(file=None) if isinstance(what, Instance) else what for what in looking.look_at(files)]


@pytest.fixture
def alone(tree: Tree) -> list[object]:
    """What one process makes of the tree."""
    return kinds(tree.files)


@pytest.fixture
def batches_of_four(monkeypatch: pytest.MonkeyPatch, alone: list[object]) -> None:
    monkeypatch.setattr(looking, "LEAST_FILES", 1)
    monkeypatch.setattr(looking, "READ_AHEAD_FILES", 4)
    monkeypatch.setattr(looking, "usable_cores", lambda: 2)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are looked at in this process."""
    seen: list[Path] = []
    real = looking.sort_file

    def sort_file(file):
        seen.append(file.path)
        return real(file)

    monkeypatch.setattr(looking, "sort_file", sort_file)
    return seen


def let_the_other_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the first batch back until the second process has answered one, or has ended."""
    real, converse_really = looking._Shared.first, looking._converse
    told = threading.Event()

    class Answered(list):
        def append(self, item):
            super().append(item)
            told.set()

    def converse(questions, answers, shared):
        shared.answered = Answered()
        try:
            converse_really(questions, answers, shared)
        finally:
            told.set()

    def first(self):
        told.wait(60)
        return real(self)

    monkeypatch.setattr(looking, "_converse", converse)
    monkeypatch.setattr(looking._Shared, "first", first)


def test_two_processes_say_what_one_says(
    tree: Tree, alone: list[object], batches_of_four: None, here: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    let_the_other_begin(monkeypatch)
    assert kinds(tree.files) == alone
    assert 0 < len(here) < len(tree.files)


@pytest.mark.parametrize(
    "command",
    ["import sys; sys.exit(3)", "input(); print('no JSON')", "input(); print('{\"schemas\": []}')", "input()"],
    ids=["ends at once", "says nonsense", "says too little", "says nothing"],
)
def test_what_the_second_process_fails_to_say_is_looked_at_here(
    tree: Tree, alone: list[object], batches_of_four: None, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(looking, "_COMMAND", command)
    let_the_other_begin(monkeypatch)
    assert kinds(tree.files) == alone


def test_without_an_interpreter_all_is_looked_at_here(
    tree: Tree, alone: list[object], batches_of_four: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tree.root / "no such program"))
    assert kinds(tree.files) == alone


def test_a_tree_is_scanned_alike(tree: Tree, batches_of_four: None, monkeypatch: pytest.MonkeyPatch) -> None:
    let_the_other_begin(monkeypatch)
    together = find_studies(tree.root, cache=None)
    monkeypatch.setattr(looking, "LEAST_FILES", 10**6)
    assert repr(together) == repr(find_studies(tree.root, cache=None))


def test_a_record_names_nobody(tree: Tree) -> None:
    writer = RecordWriter()
    records = [writer.record(what) for what in looking.look_at(tree.files)]
    told = repr((records, list(writer.schemas), list(writer.values)))
    assert "PixelSpacing" in told
    assert not [secret for secret in ("PATIENT-7", "PATIENT-8", "Planted", "ACC-1", "study 1") if secret in told]
