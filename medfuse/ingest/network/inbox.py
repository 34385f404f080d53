"""Instances that arrive one by one, in any order, become whole studies.

    DIRECTORY/.incoming/<Study Instance UID>/...     what arrives; survives a kill
    DIRECTORY/.finishing/<Study Instance UID>/...    quiet for long enough, on its way to its place
    DIRECTORY/<Study Instance UID>/...               finished
    DIRECTORY/.unscored/<Study Instance UID>         finished, and not yet handed over

DICOM has no word for the end of a study. One is taken for finished once nothing has arrived for it for a while; what
arrives later makes a new version of it, with everything of the old one that did not arrive anew. Each step is a
rename, or can be done again, so that a start after a kill goes on where the former run was.
"""

import contextlib
import filecmp
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from medfuse.errors import StorageError, StudyError, UsageError
from medfuse.ingest.network.archive import is_uid
from medfuse.ingest.network.arrivals import identity_of, place_of, put
from medfuse.ingest.network.fetch import add_missing
from medfuse.storage import held, replace_folder, storage, sweep, write_file

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Arriving:
    """A study that instances still arrive of: when the last one did, and how many are being written."""

    last: float
    writing: int = 0


class Inbox:
    """A folder that studies arrive in; a context manager. Its methods may be called from any thread.

    Args:
        directory: Where finished studies go.
        quiet_s: Seconds without an arrival after which a study is finished.
        hand_over: Whether finished studies are queued for `waiting`.
        free_bytes: Space on the disk that is left to others: an instance that would reach into it is not taken.
        clock: Seconds that only grow.

    Raises:
        UsageError: Another process receives into this folder.
        StorageError: The folder cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        *,
        quiet_s: float = 30.0,
        hand_over: bool = False,
        free_bytes: int = 256 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = directory
        self._quiet_s = quiet_s
        self._hand_over = hand_over
        self._free_bytes = free_bytes
        self._clock = clock
        self._incoming = directory / ".incoming"
        self._finishing = directory / ".finishing"
        self._unscored = directory / ".unscored"
        self._guard = threading.Lock()
        self._arriving: dict[str, _Arriving] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Inbox":
        with storage(self.directory):
            for folder in (self._incoming, self._finishing, self._unscored):
                folder.mkdir(parents=True, exist_ok=True)
            if not self._stack.enter_context(held(self._incoming)) and os.name != "nt":
                raise UsageError(f"another medfuse receives into {self.directory}; choose another folder or stop it")
            sweep(self.directory)
            now = self._clock()
            self._arriving = {uid: _Arriving(last=now) for uid in _studies_in(self._incoming)}
        if left := len(self._arriving) + len(_studies_in(self._finishing)):
            _LOG.info("%d studies are left over from a former run; they are finished now", left)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, data: bytes, sop_instance_uid: str) -> str:
        """Take an instance; it is on the disk when this returns.

        Args:
            data: A DICOM file (PS3.10).
            sop_instance_uid: What the sender says that it is.

        Returns:
            Its Study Instance UID.

        Raises:
            StudyError: It is no whole instance (`NOT_DICOM`, `TRUNCATED_FILE`, `INVALID_UID`), or is another one than
                the sender says (`WRONG_INSTANCE`).
            StorageError: There is no space for it, or it cannot be written; nothing of it is left.
        """
        identity = identity_of(data)
        if identity.instance.sop_instance_uid != sop_instance_uid:
            raise StudyError("an instance is another one than its sender says", reason="WRONG_INSTANCE")
        uid = identity.study_instance_uid
        with storage(self.directory):
            if shutil.disk_usage(self.directory).free < len(data) + self._free_bytes:
                raise StorageError(f"cannot write {self.directory}: the disk is nearly full; free some space")
        with self._writing(uid):
            put(data, place_of(self._incoming / uid, identity.instance))
        return uid

    def touch(self, uids: Iterable[str]) -> None:
        """Say that something happened to these studies: their quiet time starts anew."""
        with self._guard:
            for uid in uids:
                if uid in self._arriving:
                    self._arriving[uid].last = self._clock()

    def take_finished(self) -> list[str]:
        """Put every study that has been quiet for long enough in its place; gives the new and the changed ones.

        A study that cannot be put there (a full disk) is logged, kept, and tried again at the next call.
        """
        changed = []
        for uid in [*_studies_in(self._finishing), *self._quiet()]:
            try:
                with storage(self.directory / uid):
                    self._withdraw(uid)
                    if self._finish(uid):
                        changed.append(uid)
            except StorageError as error:
                _LOG.error("study %s is not finished yet: %s", uid, error)
        return sorted(set(changed))

    def waiting(self) -> list[str]:
        """The finished studies that are not handed over, those of former runs included."""
        return [uid for uid in _studies_in(self._unscored) if (self.directory / uid).is_dir()]

    def handed_over(self, uid: str) -> None:
        """Take a study off the queue."""
        with storage(self._unscored):
            (self._unscored / uid).unlink(missing_ok=True)

    @property
    def is_writing(self) -> bool:
        """Whether an instance is being written."""
        with self._guard:
            return any(arriving.writing for arriving in self._arriving.values())

    @contextlib.contextmanager
    def _writing(self, uid: str) -> Iterator[None]:
        """Keep a study from being finished while an instance of it is written."""
        with self._guard:
            arriving = self._arriving.setdefault(uid, _Arriving(last=self._clock()))
            arriving.writing += 1
        try:
            yield
        finally:
            with self._guard:
                arriving.writing -= 1
                arriving.last = self._clock()

    def _quiet(self) -> list[str]:
        now = self._clock()
        with self._guard:
            return sorted(uid for uid, one in self._arriving.items() if now - one.last >= self._quiet_s)

    def _withdraw(self, uid: str) -> None:
        """Move what arrived of a study out of the way of what still arrives; one already on its way goes first."""
        if (self._finishing / uid).exists():
            return
        with self._guard:
            arriving = self._arriving.get(uid)
            if arriving is None or arriving.writing:
                return
            if (self._incoming / uid).is_dir():
                (self._incoming / uid).rename(self._finishing / uid)
            del self._arriving[uid]

    def _finish(self, uid: str) -> bool:
        """Put a study in its place; whether that changed anything."""
        arrived, final = self._finishing / uid, self.directory / uid
        if not any(path.is_file() for path in arrived.rglob("*.dcm")):
            shutil.rmtree(arrived, ignore_errors=True)
            return False
        if final.is_dir():
            if _adds_nothing(arrived, final):
                shutil.rmtree(arrived)
                return False
            add_missing(final, arrived)
        if self._hand_over:
            write_file(self._unscored / uid, lambda aside: aside.write_bytes(b""))
        replace_folder(arrived, final)
        return True


def _adds_nothing(arrived: Path, final: Path) -> bool:
    """Whether every file that arrived stands in the finished study already, byte for byte."""
    for path in arrived.rglob("*"):
        former = final / path.relative_to(arrived)
        if path.is_file() and not (former.is_file() and filecmp.cmp(path, former, shallow=False)):
            return False
    return True


def _studies_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if is_uid(path.name))
