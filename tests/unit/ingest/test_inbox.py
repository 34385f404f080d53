"""Instances become studies: whole, finished after a quiet time, merged with what came before, and kept over a kill."""

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from medfuse.errors import StorageError, StudyError, UsageError
from medfuse.ingest.network.inbox import Inbox
from tests.network.studies import ROOT, instance

STUDY = f"{ROOT}.90"
QUIET_S = 30.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(tmp_path: Path, clock: Clock) -> Iterator[Inbox]:
    with Inbox(tmp_path, quiet_s=QUIET_S, hand_over=True, clock=clock) as opened:
        yield opened


def add(inbox: Inbox, number: int, study: str = STUDY, **more: object) -> bytes:
    uid, data = instance(study, 1, number, **more)
    assert inbox.add(data, uid) == study
    return data


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_study_appears_when_it_has_been_quiet_and_not_before(inbox: Inbox, clock: Clock) -> None:
    first = add(inbox, 1)
    clock.now += QUIET_S - 1
    second = add(inbox, 2)
    clock.now += QUIET_S - 1
    assert inbox.take_finished() == []
    assert not (inbox.directory / STUDY).exists()
    clock.now += 1
    assert inbox.take_finished() == [STUDY]
    series = inbox.directory / STUDY / f"{STUDY}.1"
    assert {path.name: path.read_bytes() for path in series.iterdir()} == {
        f"{STUDY}.1.1.dcm": first,
        f"{STUDY}.1.2.dcm": second,
    }
    assert inbox.take_finished() == []


def test_the_end_of_an_association_starts_the_quiet_time_anew(inbox: Inbox, clock: Clock) -> None:
    add(inbox, 1)
    clock.now += QUIET_S
    inbox.touch([STUDY, "1.2.3"])
    assert inbox.take_finished() == []
    clock.now += QUIET_S
    assert inbox.take_finished() == [STUDY]


def test_each_study_has_its_own_quiet_time(inbox: Inbox, clock: Clock) -> None:
    other = f"{ROOT}.91"
    add(inbox, 1)
    clock.now += QUIET_S / 2
    add(inbox, 1, other)
    clock.now += QUIET_S / 2
    assert inbox.take_finished() == [STUDY]
    clock.now += QUIET_S / 2
    assert inbox.take_finished() == [other]


def test_what_comes_later_makes_a_new_version_with_all_of_the_old_one(inbox: Inbox, clock: Clock) -> None:
    kept = add(inbox, 1)
    add(inbox, 2)
    clock.now += QUIET_S
    inbox.take_finished()
    (inbox.directory / STUDY / "report.txt").write_text("beside the images")
    inbox.handed_over(STUDY)
    mended = add(inbox, 2, PatientComments="mended")
    add(inbox, 3)
    clock.now += QUIET_S
    assert inbox.take_finished() == [STUDY]
    assert inbox.waiting() == [STUDY]
    folder = inbox.directory / STUDY
    assert files(folder) == [f"{STUDY}.1/{STUDY}.1.{number}.dcm" for number in (1, 2, 3)] + ["report.txt"]
    assert (folder / f"{STUDY}.1" / f"{STUDY}.1.1.dcm").read_bytes() == kept
    assert (folder / f"{STUDY}.1" / f"{STUDY}.1.2.dcm").read_bytes() == mended


def test_what_is_sent_again_unchanged_is_no_new_version(inbox: Inbox, clock: Clock) -> None:
    add(inbox, 1)
    clock.now += QUIET_S
    inbox.take_finished()
    inbox.handed_over(STUDY)
    add(inbox, 1)
    clock.now += QUIET_S
    assert inbox.take_finished() == []
    assert inbox.waiting() == []
    assert files(inbox.directory) == [f"{STUDY}/{STUDY}.1/{STUDY}.1.1.dcm"]


def test_a_start_after_a_kill_goes_on_where_the_former_run_was(tmp_path: Path, clock: Clock) -> None:
    with Inbox(tmp_path, quiet_s=QUIET_S, hand_over=True, clock=clock) as killed:
        add(killed, 1)
        clock.now += QUIET_S
        killed.take_finished()
        add(killed, 2)
        half = tmp_path / ".incoming" / f"{ROOT}.92"
        add(killed, 1, half.name)
        half.rename(tmp_path / ".finishing" / half.name)  # killed between two renames
    with Inbox(tmp_path, quiet_s=QUIET_S, hand_over=True, clock=clock) as inbox:
        assert inbox.waiting() == [STUDY]
        assert inbox.take_finished() == [half.name]
        clock.now += QUIET_S
        assert inbox.take_finished() == [STUDY]
        assert len(files(tmp_path / STUDY)) == 2


def test_a_study_is_not_finished_while_an_instance_of_it_is_written(
    inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(inbox, 1)
    seen = []

    def slow(data: bytes, path: Path) -> None:
        clock.now += QUIET_S * 2
        seen.append((inbox.is_writing, inbox.take_finished()))

    monkeypatch.setattr("medfuse.ingest.network.inbox.put", slow)
    add(inbox, 2)
    assert seen == [(True, [])]
    assert not inbox.is_writing


def test_two_processes_do_not_receive_into_one_folder(inbox: Inbox) -> None:
    with pytest.raises(UsageError, match="another medfuse receives"), Inbox(inbox.directory):
        pass


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "NOT_DICOM"),
        (b"\0" * 128 + b"DICM", "TRUNCATED_FILE"),
        (instance(STUDY, 1, 1)[1][:-10], "TRUNCATED_FILE"),
        (instance(STUDY, 1, 1)[1][:-520], "TRUNCATED_FILE"),
        (instance(STUDY, 1, 1, SeriesInstanceUID="../../x")[1], "INVALID_UID"),
        (instance(STUDY, 1, 1, StudyInstanceUID="")[1], "INVALID_UID"),
        (instance(STUDY, 1, 2)[1], "WRONG_INSTANCE"),
    ],
)
def test_what_is_no_whole_instance_is_not_taken(inbox: Inbox, data: bytes, reason: str) -> None:
    with pytest.raises(StudyError) as refusal:
        inbox.add(data, f"{STUDY}.1.1")
    assert refusal.value.reason == reason
    assert files(inbox.directory) == []


def test_a_full_disk_takes_nothing_and_leaves_nothing(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space"):
        add(inbox, 1)
    monkeypatch.undo()
    assert files(inbox.directory) == []
    add(inbox, 1)


def test_the_last_space_is_left_to_others(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1000))
    with pytest.raises(StorageError, match="nearly full"):
        add(inbox, 1)


def test_a_study_that_cannot_take_its_place_is_tried_again(
    inbox: Inbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    add(inbox, 1)
    (inbox.directory / ".unscored").rmdir()
    (inbox.directory / ".unscored").write_text("in the way")
    clock.now += QUIET_S
    assert inbox.take_finished() == []
    assert "not finished yet" in caplog.text
    (inbox.directory / ".unscored").unlink()
    assert inbox.take_finished() == [STUDY]
