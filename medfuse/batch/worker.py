"""One stage of scoring in a process of its own, which may crash, hang or swallow memory without ending the run.

The process is spawned, builds its stage once (a model is loaded once) and answers one task after the other. A task that
outlives its seconds, or takes more memory than allowed, has its process killed; the next task gets a new one. Results
go from stage to stage as bytes: the process that supervises never unpacks a volume. What goes through the pipes is
packed by `multiprocessing` for processes that medfuse itself started; no file is ever read that way.

Looked at before writing this: `concurrent.futures.ProcessPoolExecutor` breaks as a whole when one process dies and can
end none; `pebble` and `loky` kill by time limit but not by memory; Celery, Dask and Ray want a service beside the
run. The pieces used here are those of `multiprocessing`, with `psutil` to weigh a process.
"""

import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil

from medfuse.errors import MedfuseError, StorageError, StudyError, UsageError

LOG = logging.getLogger(__name__)
Stage = Callable[[Any], Any]
"""Answers one task; raises `StudyError` for a study that cannot be used."""

Factory = Callable[[], tuple[Stage, Any]]
"""Builds a stage in its process, and says what the supervisor has to know of it. Sent to the process by name."""

UNFORESEEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a stage may raise that nobody foresaw."""

FAILURES = (MedfuseError, *UNFORESEEN)
_WATCH_S = 0.05
_END_S = 5.0
_TIDY_S = 2.0
_ONE_AT_A_TIME = threading.RLock()
"""Held while a process says something that is made of several parts."""


class Stopped(MedfuseError):  # noqa: N818 (no fault: somebody asked for it)
    """The run was told to stop while a task was in hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one study may take of each process.

    Args:
        seconds: Wall time; None for any.
        memory_bytes: Resident memory of the process; None for any.
        start_seconds: Wall time for building the stage.
    """

    seconds: float | None = 600.0
    memory_bytes: int | None = None
    start_seconds: float = 600.0


def unforeseen(error: Exception) -> StudyError:
    """The rejection for a failure that nobody foresaw: its kind and place alone, since its message may be private."""
    package = Path(__file__).resolve().parents[1]
    places = [one for one in traceback.extract_tb(error.__traceback__) if Path(one.filename).is_relative_to(package)]
    where = f" at {Path(places[-1].filename).relative_to(package).as_posix()}:{places[-1].lineno}" if places else ""
    detail = f"scoring failed with {type(error).__name__}{where}; score this study alone: --one-process --verbose"
    return StudyError(detail, reason="UNEXPECTED_ERROR")


def unpack(answer: bytes) -> Any:
    """What a stage answered; `answer` comes from `Worker.call`, never from a file or a network."""
    return ForkingPickler.loads(answer)


class Worker:
    """A stage in a process; started on first use, started anew behind a crash.

    Args:
        name: The stage, for messages: `reading`, `network`, `writing`.
        factory: Builds the stage in the process.
        limits: What a task may take.
    """

    def __init__(self, name: str, factory: Factory, limits: Limits) -> None:
        self.name = name
        self._factory = factory
        self._limits = limits
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._hello: Any = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process; it builds its stage while the caller goes on."""
        with self._lock:
            if self._stopped.is_set():
                raise Stopped("the run was stopped")
            if self._process is not None and self._process.is_alive():
                return
            if self._connection is not None:
                self._connection.close()
            context = get_context("spawn")
            ours, theirs = context.Pipe()
            level = logging.getLogger("medfuse").getEffectiveLevel()
            process = context.Process(
                target=_serve, args=(theirs, self._factory, level), name=f"medfuse-{self.name}", daemon=True
            )
            with _unheard_of_by_children():
                process.start()
            theirs.close()
            self._process, self._connection, self._hello = process, ours, None

    def hello(self) -> Any:
        """What the stage says of itself, once it is built.

        Raises:
            UsageError: It cannot be built: the checkpoint is broken, the device is missing, the process died.
            StorageError: Likewise, for want of space.
        """
        if self._hello is None:
            self.start()
            try:
                kind, content = self._receive(self._limits.start_seconds, None)
            except StudyError as error:
                raise UsageError(f"cannot start {error.detail}") from error
            if kind != "ready":
                self.stop_process()
                failure = _error_of(content)
                is_unforeseen = isinstance(failure, StudyError)
                raise UsageError(f"cannot start {self.name}: {failure}") if is_unforeseen else failure
            self._hello = (content,)
        return self._hello[0]

    def call(self, task: Any, *, is_packed: bool = False) -> bytes:
        """Have a task answered; gives the answer packed, for the next stage or for `unpack`.

        Args:
            task: What the stage takes.
            is_packed: Whether it is what `call` of another stage gave.

        Raises:
            StudyError: The stage refuses the study, or `WORKER_CRASHED`, `TIME_LIMIT`, `MEMORY_LIMIT`.
            StorageError: The stage cannot write.
            Stopped: `stop` was called.
        """
        process = self._process
        if process is not None and not process.is_alive():
            self.stop_process()  # it died with nothing in hand: no fault of this study
        self.hello()
        connection = self._open_connection()
        try:
            if is_packed:
                connection.send_bytes(task)
            else:
                connection.send(task)
        except OSError:
            self._fail_dead()
        kind, content = self._receive(self._limits.seconds, self._limits.memory_bytes)
        if kind == "failed":
            raise _error_of(content)
        return bytes(self._read(connection.recv_bytes))

    def stop(self) -> None:
        """End the process and whatever it does; a call in hand raises `Stopped`, and so does every later one."""
        self._stopped.set()
        with self._lock:
            process = self._process
            if process is not None and process.is_alive():
                process.terminate()
                process.join(_TIDY_S)
        self.stop_process()

    def stop_process(self) -> None:
        """End the process; the next task gets a new one."""
        with self._lock:
            process, self._hello = self._process, None
            if process is not None and process.is_alive():
                process.kill()
                process.join(_END_S)

    def _open_connection(self) -> Connection:
        if self._connection is None or self._stopped.is_set():
            raise Stopped("the run was stopped")
        return self._connection

    def _receive(self, seconds: float | None, memory_bytes: int | None) -> tuple[str, Any]:
        """Wait for the first part of an answer, and watch the process meanwhile."""
        connection, process = self._open_connection(), self._process
        sentinel = -1 if process is None else process.sentinel
        until = None if seconds is None else time.monotonic() + seconds
        weight = _Weight(process.pid if process is not None else None, memory_bytes)
        while True:
            if self._read(lambda: connection.poll(0)):
                kind, content = self._read(connection.recv)
                if kind != "log":
                    return kind, content
                logging.getLogger(content["name"]).handle(logging.makeLogRecord(content))
                continue
            if process is None or not process.is_alive():
                self._fail_dead()
            if until is not None and time.monotonic() > until:
                self.stop_process()
                self._fail(
                    "TIME_LIMIT", f"it took longer than {seconds:g} s and was ended; allow more (--study-seconds)"
                )
            if weight.is_too_much():
                self.stop_process()
                self._fail("MEMORY_LIMIT", f"it took more memory than {weight.allowed} and was ended (--study-memory)")
            wait([connection, sentinel], _WATCH_S)

    def _read(self, receive: Callable[[], Any]) -> Any:
        try:
            return receive()
        except (EOFError, OSError):
            self._fail_dead()

    def _fail_dead(self) -> None:
        if self._stopped.is_set():
            raise Stopped("the run was stopped")
        process = self._process
        if process is not None:
            process.join(_END_S)
        code = None if process is None else process.exitcode
        self.stop_process()
        self._fail("WORKER_CRASHED", f"the process died{_manner(code)}; the other studies go on")

    def _fail(self, reason: str, detail: str) -> None:
        if self._stopped.is_set():
            raise Stopped("the run was stopped")
        raise StudyError(f"{self.name}: {detail}", reason=reason)


@contextmanager
def _unheard_of_by_children() -> Iterator[None]:
    """Keep Ctrl-C from a process that is being started, until it says itself that it does not listen."""
    if sys.platform == "win32":
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


class _Weight:
    """The resident memory of a process against its limit."""

    def __init__(self, pid: int | None, limit: int | None) -> None:
        self._limit = limit
        self._process: psutil.Process | None = None
        if limit is not None and pid is not None:
            try:
                self._process = psutil.Process(pid)
            except psutil.Error:
                self._process = None

    @property
    def allowed(self) -> str:
        """The limit in words."""
        return f"{(self._limit or 0) / 2**30:.3g} GiB"

    def is_too_much(self) -> bool:
        """Whether it is over its limit now."""
        if self._limit is None or self._process is None:
            return False
        try:
            return bool(self._process.memory_info().rss > self._limit)
        except psutil.Error:
            return False


def _manner(code: int | None) -> str:
    """How a process died, in words."""
    if code is None:
        return ""
    if code >= 0:
        return f" with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", as it does when the system is out of memory" if name == "SIGKILL" else ""
    return f" of {name}{hint}"


def _serve(connection: Connection, factory: Factory, level: int) -> None:
    """What the process does: build the stage, then answer tasks until nobody asks any more."""
    _be_a_quiet_child(connection, level)
    try:
        stage, hello = factory()
        connection.send(("ready", hello))
    except MedfuseError as error:
        connection.send(("failed", _told(error)))
        return
    except UNFORESEEN as error:
        connection.send(("failed", _told(unforeseen(error))))
        return
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            packed = ForkingPickler.dumps(stage(task))
        except MedfuseError as error:
            connection.send(("failed", _told(error)))
        except UNFORESEEN as error:
            connection.send(("failed", _told(unforeseen(error))))
        else:
            with _ONE_AT_A_TIME:
                connection.send(("done", None))
                connection.send_bytes(packed)
            del packed
        del task


class _ToSupervisor(logging.Handler):
    """Hands log records to the process that supervises, which knows where they go."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record as plain data."""
        plain = {"name": record.name, "levelno": record.levelno, "levelname": record.levelname}
        try:
            with _ONE_AT_A_TIME:
                self._connection.send(("log", plain | {"msg": record.getMessage(), "created": record.created}))
        except OSError:
            self.handleError(record)


def _be_a_quiet_child(connection: Connection, level: int) -> None:
    """Leave Ctrl-C to the supervisor, end with it, and log as it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # a library's warning may quote a header's value
    logger = logging.getLogger("medfuse")
    logger.setLevel(level)
    logger.propagate = False
    logger.addHandler(_ToSupervisor(connection))
    logging.getLogger().addHandler(logging.NullHandler())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """End as an exception does, so that what the libraries hold is given back."""
    raise SystemExit(0)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _told(error: MedfuseError) -> dict[str, Any]:
    """An error as plain data."""
    cause = error.__cause__
    return {
        "kind": "study" if isinstance(error, StudyError) else "storage" if isinstance(error, StorageError) else "usage",
        "detail": error.detail if isinstance(error, StudyError) else str(error),
        "reason": error.reason if isinstance(error, StudyError) else "",
        "errno": cause.errno if isinstance(cause, OSError) else None,
    }


def _error_of(told: dict[str, Any]) -> MedfuseError:
    if told["kind"] == "study":
        return StudyError(told["detail"], reason=told["reason"])
    if told["kind"] == "usage":
        return UsageError(told["detail"])
    error = StorageError(told["detail"])
    if told["errno"] is not None:
        error.__cause__ = OSError(told["errno"], os.strerror(told["errno"]))
    return error
