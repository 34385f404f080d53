"""Look at many files: here, and for large trees in a second process too, which takes them from the other end.

Python runs one thread at a time, so that a second core is of use to a second process alone. It is started as a command
and spoken to in lines of JSON: multiprocessing would import the caller's main module again, and unpickles what it is
sent. Where it cannot be started, or ends before its time, all is looked at here.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.pixels import usable_cores
from medfuse.ingest.file_kinds import Sorted, sort_file
from medfuse.ingest.read_ahead import READ_AHEAD_FILES, read_ahead
from medfuse.ingest.records import RecordReader
from medfuse.ingest.tree import FoundFile

LEAST_FILES = 5000
"""Fewer files are looked at in less time than a second process takes to start."""

_AT_ONCE = 2
"""Batches that the second process has in hand, so that it never waits for the next."""

_COMMAND = "from medfuse.ingest.looking_beside import main; main()"
_BROKEN = (ValueError, KeyError, IndexError, TypeError, AttributeError, UnreadableFileError)


def look_at(files: Sequence[FoundFile]) -> list[Sorted]:
    """What each of the files is."""
    shared = _Shared(files)
    found: list[Sorted | None] = [None] * len(files)
    with _second_process(shared), read_ahead([file.path for file in files]) as told:
        while (numbers := shared.first()) is not None:
            told()
            for number in numbers:
                found[number] = sort_file(files[number])
    for number, what in shared.answers():
        found[number] = what
    return [sort_file(file) if what is None else what for file, what in zip(files, found, strict=True)]


class _Shared:
    """Files in batches: the first ones are taken here, the last ones by the second process."""

    def __init__(self, files: Sequence[FoundFile]) -> None:
        self.files = files
        starts = range(0, len(files), READ_AHEAD_FILES)
        self._left = deque(range(start, min(start + READ_AHEAD_FILES, len(files))) for start in starts)
        self._lock = threading.Lock()
        self.answered: list[tuple[range, bytes]] = []

    def first(self) -> range | None:
        """Numbers of the first files that nobody has taken."""
        with self._lock:
            return self._left.popleft() if self._left else None

    def last(self) -> range | None:
        """Numbers of the last ones."""
        with self._lock:
            return self._left.pop() if self._left else None

    def question(self, numbers: range) -> bytes:
        """A batch as a line for the second process."""
        return json.dumps([(str(self.files[n].path), *self.files[n][1:]) for n in numbers]).encode() + b"\n"

    def answers(self) -> Iterator[tuple[int, Sorted | None]]:
        """What the second process said, by number of the file; nothing more after a line that makes no sense."""
        reader = RecordReader()
        with contextlib.suppress(*_BROKEN):
            for numbers, line in self.answered:
                said: dict[str, Any] = json.loads(line)
                reader.learn(said["schemas"], said["values"])
                for number, (record, *person) in zip(numbers, said["records"], strict=True):
                    what = None if record is None else reader.what(self.files[number], record, *person)
                    yield number, what


@contextmanager
def _second_process(shared: _Shared) -> Iterator[None]:
    """Have a second process look at files while the block does; at its end, what is in its hands is awaited."""
    if len(shared.files) < LEAST_FILES or usable_cores() < 2 or not sys.executable:
        yield
        return
    path = os.pathsep.join(str(Path(place).resolve()) for place in sys.path)
    try:
        process = subprocess.Popen(  # noqa: S603 - the command is a constant
            [sys.executable, "-P", "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
    except OSError:
        yield
        return
    thread = threading.Thread(target=_converse, args=(process.stdin, process.stdout, shared), daemon=True)
    thread.start()
    try:
        yield
        thread.join()
    finally:
        process.terminate()
        process.wait()
        thread.join()
        with contextlib.suppress(OSError):
            process.communicate()


def _converse(questions: IO[bytes], answers: IO[bytes], shared: _Shared) -> None:
    asked: deque[range] = deque()
    with contextlib.suppress(OSError, ValueError):
        while True:
            while len(asked) < _AT_ONCE and (numbers := shared.last()) is not None:
                asked.append(numbers)
                questions.write(shared.question(numbers))
                questions.flush()
            if not asked or not (line := answers.readline()).endswith(b"\n"):
                return
            shared.answered.append((asked.popleft(), line))
