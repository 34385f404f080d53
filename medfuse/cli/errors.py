"""From an exception to one line on stderr and an exit code.

| code | meaning |
|---|---|
| 0 | done |
| 1 | finished, with rejected studies (or, for `doctor`, with something missing) |
| 2 | wrong use, or the place cannot be written |
| 70 | a fault of medfuse itself (`EX_SOFTWARE` of BSD sysexits.h) |
| 130 | interrupted by Ctrl-C (128 + SIGINT) |
| 143 | ended by SIGTERM (128 + SIGTERM) |

A fault prints one line that names a crash report. The report holds versions, the type of the exception and the places
in the code, and neither values nor the message, which may quote a file's content. `--verbose`, or MEDFUSE_DEBUG=1,
shows the whole traceback (without local variables) on the terminal of the person who asked for it.
"""

import errno
import os
import platform
import sys
import tempfile
import traceback
from pathlib import Path
from types import TracebackType

import typer

from medfuse import __version__
from medfuse.errors import MedfuseError

USAGE_EXIT = 2
FAULT_EXIT = 70
INTERRUPTED_EXIT = 130
TERMINATED_EXIT = 143

_PASS_THROUGH = (typer.Exit, typer.Abort, typer.BadParameter, SystemExit)
_STORAGE_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
)


class ErrorBoundary:
    """Context that ends the process with one line and the right exit code when its body raises.

    Args:
        verbose: Show the traceback of a fault; `MEDFUSE_DEBUG` set to anything but 0 does the same.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self.verbose = verbose or debugging()

    def __enter__(self) -> "ErrorBoundary":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, _PASS_THROUGH):
            return
        if isinstance(error, KeyboardInterrupt):
            _say("interrupted")
            raise SystemExit(INTERRUPTED_EXIT) from None
        if isinstance(error, MedfuseError):
            _say(f"error: {one_line(str(error))}")
        elif isinstance(error, OSError) and error.errno in _STORAGE_ERRNOS:
            _say(f"error: {_storage_message(error)}")
        elif isinstance(error, Exception):
            self._report_fault(error)
            raise SystemExit(FAULT_EXIT) from None
        else:
            return
        if self.verbose:
            _say(_traceback(error))
        raise SystemExit(USAGE_EXIT) from None

    def _report_fault(self, error: Exception) -> None:
        where = _last_own_place(error)
        report = write_crash_report(error)
        kept = f"; crash report: {report}" if report else ""
        hint = "" if self.verbose else "; run again with --verbose to see more"
        _say(f"error: medfuse failed with {type(error).__name__} at {where}{kept}{hint}")
        if self.verbose:
            _say(_traceback(error))


def debugging() -> bool:
    """Whether the environment asks for tracebacks: `MEDFUSE_DEBUG` is set, and not to 0."""
    return os.environ.get("MEDFUSE_DEBUG", "0") not in {"", "0"}


def one_line(text: str) -> str:
    """`text` with its line breaks and runs of spaces made single spaces."""
    return " ".join(text.split())


def write_crash_report(error: BaseException) -> Path | None:
    """Write versions, the type and the places of `error` to the temporary folder; no message and no values.

    Returns:
        The file, or None where it cannot be written.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = [
        f"medfuse {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"command: {sys.argv[1] if len(sys.argv) > 1 else ''}",
        f"error: {type(error).__module__}.{type(error).__qualname__}",
        *(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames),
    ]
    try:
        handle, name = tempfile.mkstemp(prefix="medfuse-crash-", suffix=".txt", text=True)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except OSError:
        return None
    return Path(name)


def _last_own_place(error: BaseException) -> str:
    """The deepest place of the traceback inside medfuse: a file and a line."""
    package = Path(__file__).resolve().parents[1]
    place = "an unknown place"
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(package):
            place = f"{path.relative_to(package.parent).as_posix()}:{frame.lineno}"
    return place


def _storage_message(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or type(error).__name__}; free some space or choose a place that can be written"


def _traceback(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format()).rstrip()


def _say(line: str) -> None:
    typer.echo(line, err=True)
