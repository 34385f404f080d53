"""Tell the system which files come next, so that the disk works while headers are looked at.

A thread asks for the first bytes of each file (posix_fadvise, which waits for nothing), some hundred files ahead of
the walk. The calls give up the interpreter's lock, so the other core does what they cost. Where the system has no such
call, nothing is done.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medfuse.ingest.dicom.walk import HEAD_BYTES

READ_AHEAD_FILES = 256
"""How many files are asked for at a time; two such batches are ahead."""


@contextmanager
def read_ahead(paths: Sequence[Path]) -> Iterator[Callable[[], None]]:
    """Ask for files while the block goes through them.

    Args:
        paths: Files in the order in which they will be read.

    Yields:
        To be called whenever the block begins with the next `READ_AHEAD_FILES` files.
    """
    if len(paths) < READ_AHEAD_FILES or not hasattr(os, "posix_fadvise"):
        yield lambda: None
        return
    turn = threading.Semaphore(2)
    ended = threading.Event()

    def ask() -> None:
        for first in range(0, len(paths), READ_AHEAD_FILES):
            turn.acquire()
            if ended.is_set():
                return
            for path in paths[first : first + READ_AHEAD_FILES]:
                ask_for(path)

    thread = threading.Thread(target=ask, name="medfuse-read-ahead", daemon=True)
    thread.start()
    try:
        yield turn.release
    finally:
        ended.set()
        turn.release()
        thread.join()


def ask_for(path: Path) -> None:
    """Ask for the first bytes of a file, where the system has such a call."""
    if not hasattr(os, "posix_fadvise"):
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.posix_fadvise(descriptor, 0, HEAD_BYTES, os.POSIX_FADV_WILLNEED)
    except OSError:
        return
    finally:
        os.close(descriptor)
