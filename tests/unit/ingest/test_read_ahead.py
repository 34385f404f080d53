"""Asking ahead: no file is missed, none is asked for long before its turn, and the thread always ends."""

import threading
from pathlib import Path

import pytest

from medfuse.ingest import read_ahead as module
from medfuse.ingest.read_ahead import READ_AHEAD_FILES, read_ahead


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []
    monkeypatch.setattr(module, "ask_for", seen.append)
    monkeypatch.setattr(module.os, "posix_fadvise", lambda *_: None, raising=False)
    return seen


def is_running() -> bool:
    return any(thread.name == "medfuse-read-ahead" for thread in threading.enumerate())


def test_every_file_is_asked_for_in_turn(asked: list[Path]) -> None:
    paths = [Path(str(n)) for n in range(5 * READ_AHEAD_FILES + 3)]
    with read_ahead(paths) as told:
        for n in range(0, len(paths), READ_AHEAD_FILES):
            told()
            assert len(asked) <= n + 3 * READ_AHEAD_FILES
    assert asked == paths[: len(asked)]
    assert not is_running()


def test_a_block_that_fails_ends_the_thread(asked: list[Path]) -> None:
    with pytest.raises(ValueError, match="stop"), read_ahead([Path("x")] * 10_000):
        raise ValueError("stop")
    assert not is_running()
    assert len(asked) <= 3 * READ_AHEAD_FILES


def test_few_files_need_no_thread(asked: list[Path]) -> None:
    with read_ahead([Path("x")]) as told:
        told()
        assert not is_running()
    assert asked == []


def test_files_that_are_gone_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"x")
    for name in ("here", "gone"):
        module.ask_for(tmp_path / name)
