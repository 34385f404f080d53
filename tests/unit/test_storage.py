"""Whole or not at all: files and folders under failing disks and dying processes."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medfuse import storage as files
from medfuse.errors import StorageError
from medfuse.storage import sweep, whole_folder, write_file


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, text: str) -> None:
    with whole_folder(folder) as partial:
        (partial / "a.txt").write_text(text)


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.txt"
    write_file(target, lambda path: path.write_text("one"))
    write_file(target, lambda path: path.write_text("two"))
    assert target.read_text() == "two"
    assert names(target.parent) == ["a.txt"]


def test_the_aside_name_ends_like_the_file(tmp_path: Path) -> None:
    seen: list[str] = []

    def write(path: Path) -> None:
        seen.append(path.name)
        path.write_bytes(b"")

    write_file(tmp_path / "a.nii.gz", write)
    assert seen[0].endswith(".a.nii.gz")
    assert seen[0].startswith(".")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no permission"),
        (errno.EDQUOT, "quota"),
        (errno.EIO, "another place"),
    ],
)
def test_a_disk_that_fails_gives_one_line_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, says: str
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    monkeypatch.setattr(files.os, "fsync", failing(code))
    with pytest.raises(StorageError, match=says) as raised:
        write_file(target, lambda path: path.write_text("new"))
    assert str(target) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_where_a_folder_has_to_be(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError, match="a file stands where a folder has to be"):
        write_file(tmp_path / "out" / "a.txt", lambda path: path.write_text(""))
    with pytest.raises(StorageError, match="a file stands where a folder has to be"):
        fill(tmp_path / "out" / "1.2", "")


def test_a_folder_is_invisible_until_it_is_whole(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "1.2") as partial:
        (partial / "a.txt").write_text("new")
        assert not (tmp_path / "1.2").exists()
        assert partial.parent == tmp_path
        assert partial.name.startswith(".1.2.partial-")
    assert names(tmp_path) == ["1.2"]
    assert (tmp_path / "1.2" / "a.txt").read_text() == "new"


def test_an_older_folder_stays_until_the_new_one_is_whole_and_leaves_nothing_of_its_own(tmp_path: Path) -> None:
    fill(tmp_path / "1.2", "old")
    (tmp_path / "1.2" / "only_in_the_old.txt").write_text("")
    with whole_folder(tmp_path / "1.2") as partial:
        (partial / "a.txt").write_text("new")
        assert (tmp_path / "1.2" / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["1.2"]
    assert names(tmp_path / "1.2") == ["a.txt"]
    assert (tmp_path / "1.2" / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x")])
def test_an_interrupted_block_leaves_the_old_folder_and_no_partial_one(tmp_path: Path, error: BaseException) -> None:
    fill(tmp_path / "1.2", "old")

    def interrupted() -> None:
        with whole_folder(tmp_path / "1.2") as partial:
            (partial / "a.txt").write_text("new")
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert names(tmp_path) == ["1.2"]
    assert (tmp_path / "1.2" / "a.txt").read_text() == "old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_fails_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    fill(tmp_path / "1.2", "old")
    monkeypatch.setattr(files.os, "fsync", failing(code))
    with pytest.raises(StorageError, match=r"1\.2: "):
        fill(tmp_path / "1.2", "new")
    assert names(tmp_path) == ["1.2"]
    assert (tmp_path / "1.2" / "a.txt").read_text() == "old"


def test_the_old_folder_comes_back_when_the_new_one_cannot_move_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "1.2", "old")
    rename = Path.rename

    def fail_once(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            raise OSError(errno.EIO, "input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(StorageError):
        fill(tmp_path / "1.2", "new")
    assert names(tmp_path) == ["1.2"]
    assert (tmp_path / "1.2" / "a.txt").read_text() == "old"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_link_of_that_name_is_replaced_and_its_target_untouched(tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    if kind == "file":
        (out / "1.2").write_text("")
    else:
        (out / "1.2").symlink_to(elsewhere)
    fill(out / "1.2", "new")
    assert names(out) == ["1.2"]
    assert not (out / "1.2").is_symlink()
    assert (elsewhere / "mine.txt").read_text() == "mine"


DYING = """
import os, sys
from pathlib import Path
from medfuse.storage import whole_folder
with whole_folder(Path(sys.argv[1])) as partial:
    (partial / "a.txt").write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def run_until_ready(target: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", DYING, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="no folder locks")
def test_what_a_killed_process_left_is_cleared_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    dead, living = run_until_ready(tmp_path / "1.1"), run_until_ready(tmp_path / "1.2")
    try:
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert len(names(tmp_path)) == 2
        sweep(tmp_path)
        (left,) = names(tmp_path)
        assert left.startswith(".1.2.partial-")
        living.communicate("")
        assert names(tmp_path) == ["1.2"]
    finally:
        living.kill()
        for process in (dead, living):
            process.communicate()


def test_the_first_write_into_a_directory_sweeps_it(tmp_path: Path) -> None:
    (tmp_path / ".1.1.partial-0123456789abcdef").mkdir()
    fill(tmp_path / "1.2", "")
    assert names(tmp_path) == ["1.2"]


def test_an_old_result_comes_back_only_where_no_new_one_took_its_place(tmp_path: Path) -> None:
    for name in (".1.1.old-0123456789abcdef", ".1.2.old-0123456789abcdef", "1.2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "from.txt").write_text(name)
    sweep(tmp_path)
    assert names(tmp_path) == ["1.1", "1.2"]
    assert (tmp_path / "1.1" / "from.txt").read_text() == ".1.1.old-0123456789abcdef"
    assert (tmp_path / "1.2" / "from.txt").read_text() == "1.2"


def test_sweeping_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    mine = [".1.2.partial-notes", ".git", "1.2.partial-0123456789abcdef", ".cache.old"]
    for name in mine:
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert names(tmp_path) == sorted(mine)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no file size limits")
def test_a_real_limit_on_the_disk(tmp_path: Path) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
from medfuse.errors import StorageError
from medfuse.storage import whole_folder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    with whole_folder(Path(sys.argv[1])) as partial:
        (partial / "a.txt").write_text("x" * 100)
except StorageError as error:
    sys.exit(f"said {error}")
"""
    told = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "1.2")], capture_output=True, text=True, check=False
    )
    assert told.stderr.startswith(f"said cannot write {tmp_path / '1.2'}: the file would be larger")
    assert list(tmp_path.iterdir()) == []
