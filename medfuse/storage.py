"""Writing so that a result is there whole or not at all: aside, fsync, rename.

A file is written under a hidden name beside its place and renamed into it. A folder is filled as a hidden sibling
`.<name>.partial-<token>` and renamed; an older folder of that name steps aside as `.<name>.old-<token>` for the
instant between two renames, and comes back if the second one fails. Each hidden folder is locked by the process that
works on it, so that `sweep` can tell what a dead process left behind: it puts an old result back and removes the rest.
"""

import contextlib
import errno
import functools
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medfuse.errors import StorageError

if sys.platform != "win32":
    import fcntl

_ADVICE = {
    errno.ENOSPC: "no space left on the disk; free some or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another place",
    errno.EFBIG: "the file would be larger than is allowed there; choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.EACCES: "no permission to write there; change the permissions or choose another place",
    errno.EPERM: "no permission to write there; change the permissions or choose another place",
    errno.EEXIST: "a file stands where a folder has to be; choose another place",
    errno.ENOTDIR: "a file stands where a folder has to be; choose another place",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose another place",
}
_HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<kind>partial|old)-[0-9a-f]{16}")


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn every `OSError` of the block into a `StorageError` of one line about `path`.

    Raises:
        StorageError: The block could not write; it names the path and says what to do.
    """
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, f"{error.strerror or type(error).__name__}; choose another place")
        raise StorageError(f"cannot write {path}: {advice}") from error


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write one file whole or not at all.

    Args:
        path: Where it goes; missing folders are made, an older file is replaced.
        write: Writes the content to the path that it is given, which ends like `path` does.

    Raises:
        StorageError: It could not be written; what stood at `path` is untouched.
    """
    aside = path.with_name(f".{secrets.token_hex(8)}.partial.{path.name}")
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(aside)
            _sync(aside)
            aside.replace(path)
            _sync(path.parent)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a hidden folder to fill; behind the block it stands at `path`, whole.

    Args:
        path: Where it goes; missing parents are made, an older folder is replaced once the new one is whole.

    Raises:
        StorageError: Something in the block or the move could not be written; what stood at `path` is untouched.
    """
    with storage(path), contextlib.ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent.resolve())
        partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(8)}")
        partial.mkdir()
        stack.callback(shutil.rmtree, partial, ignore_errors=True)
        stack.enter_context(held(partial))
        yield partial
        for file in partial.iterdir():
            _sync(file)
        _sync(partial)
        replace_folder(partial, path)


def replace_folder(filled: Path, path: Path) -> None:
    """Put a folder in the place of another; the older one is removed once the new one stands there.

    Args:
        filled: The folder, on the same file system.
        path: Where it goes.

    Raises:
        OSError: It could not be moved; what stood at `path` is untouched.
    """
    if not os.path.lexists(path):
        filled.rename(path)
        _sync(path.parent)
        return
    old = path.with_name(f".{path.name}.old-{secrets.token_hex(8)}")
    with held(path):
        path.rename(old)
        try:
            filled.rename(path)
        except BaseException:
            old.rename(path)
            raise
        _sync(path.parent)
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Clear what dead processes left in `directory`: an old result comes back if no new one took its place.

    Folders that a living process holds are left alone; so is everything where the file system knows no locks.
    """
    for path in sorted(directory.iterdir()):
        match = _HIDDEN.fullmatch(path.name)
        if match is None or path.is_symlink() or not path.is_dir() or not _is_abandoned(path):
            continue
        final = directory / match["name"]
        if match["kind"] == "old" and not os.path.lexists(final):
            path.rename(final)
        else:
            shutil.rmtree(path, ignore_errors=True)


@functools.cache
def _sweep_once(directory: Path) -> None:
    """Sweep once a process: a listing for every study would cost the square of their number."""
    sweep(directory)


def _sync(path: Path) -> None:
    """Force a file or folder to the disk; Windows has no such call for folders."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, which the system drops when the process dies; gives whether it was free to take.

    A folder that is a link or is not there gives False; so does every folder where the system knows no locks.
    """
    if sys.platform == "win32" or folder.is_symlink() or not folder.is_dir():
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = True
        except OSError:
            taken = False
        yield taken
    finally:
        os.close(descriptor)


def _is_abandoned(folder: Path) -> bool:
    with held(folder) as taken:
        return taken
