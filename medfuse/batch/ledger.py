"""The ledger: what became of every study of a run, in a file that survives a kill, a power cut and a full disk.

`OUTPUT/ledger.sqlite`, one row a study: `queued`, `running`, `scored` or `rejected`, with attempts, times and the
hashes of what was scored, with which model and which settings. It is the truth of a run; `scores.csv` follows from it.

The standard library's `sqlite3` rather than SQLAlchemy, which the reviews use: the ledger is never anything but one
SQLite file, the statements are few, and durability is a matter of two pragmas that are SQLite's own (`journal_mode=WAL`
lets `--status` read while a run writes; `synchronous=FULL` forces every commit to the disk). Write-ahead logging needs
a file system of this machine: SQLite's documentation, "Write-Ahead Logging", rules out network file systems.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from medfuse.errors import StorageError, UsageError

LEDGER_FILE = "ledger.sqlite"
SCHEMA_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS studies (
  key TEXT PRIMARY KEY,
  study_instance_uid TEXT NOT NULL,
  accession_number TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'scored', 'rejected')),
  reason TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT '',
  attempts INTEGER NOT NULL DEFAULT 0,
  results INTEGER NOT NULL DEFAULT 0,
  input_hash TEXT NOT NULL,
  model_hash TEXT NOT NULL,
  settings_hash TEXT NOT NULL,
  queued_at REAL NOT NULL,
  started_at REAL,
  finished_at REAL,
  timings TEXT NOT NULL DEFAULT '{}',
  flags TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX IF NOT EXISTS studies_by_state ON studies (state, reason);
CREATE TABLE IF NOT EXISTS runs (
  number INTEGER PRIMARY KEY,
  started_at REAL NOT NULL,
  ended_at REAL
);
"""
_QUEUE = """
INSERT INTO studies (key, study_instance_uid, accession_number, state, input_hash, model_hash, settings_hash, queued_at)
VALUES (?, ?, ?, 'queued', ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
  state = 'queued', reason = '', detail = '', started_at = NULL, finished_at = NULL, timings = '{}', flags = '[]',
  accession_number = excluded.accession_number, input_hash = excluded.input_hash, model_hash = excluded.model_hash,
  settings_hash = excluded.settings_hash, queued_at = excluded.queued_at
"""


class State(StrEnum):
    """Where a study stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SCORED = "scored"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A study that a run is to score.

    Args:
        key: What tells it from every other row: the Study Instance UID, or a hash for a file of no study.
        study_instance_uid: May be empty.
        accession_number: May be empty.
        input_hash: Changes when the study's files do.
    """

    key: str
    study_instance_uid: str
    accession_number: str = ""
    input_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a study is scored by: a result of another task is no result of this one.

    Args:
        model_hash: Hash of the checkpoints.
        settings_hash: Hash of what else decides the result: its files, the augmentations, the gates.
    """

    model_hash: str
    settings_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One study of the ledger.

    Args:
        key: As in `Entry`.
        study_instance_uid: May be empty.
        accession_number: May be empty.
        state: Where it stands.
        reason: Code of a rejection.
        detail: One line about it.
        attempts: How often it was begun.
        results: How often a result of it was written.
        input_hash: Of the files that were scored.
        model_hash: Of the model that scored them.
        settings_hash: Of the settings.
        queued_at: Seconds since 1970.
        started_at: The same, of the last attempt; None before.
        finished_at: The same; None before.
        timings: Stage -> seconds.
        flags: Codes of the quality flags.
    """

    key: str
    study_instance_uid: str
    accession_number: str
    state: State
    reason: str
    detail: str
    attempts: int
    results: int
    input_hash: str
    model_hash: str
    settings_hash: str
    queued_at: float
    started_at: float | None
    finished_at: float | None
    timings: dict[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


class Ledger:
    """An open ledger; a context manager. One process writes to it at a time, any number read.

    Args:
        path: The file; made when it is not there.
        read_only: Only look at it.

    Raises:
        UsageError: It is no ledger, of a later medfuse, or not there to be looked at.
        StorageError: It cannot be written.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        if read_only and not path.is_file():
            raise UsageError(f"{path.parent} holds no {path.name}; it is written by medfuse score --output")
        with self._errors():
            # Autocommit: transactions are begun and ended by `_written`, never by the driver.
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            try:
                self._open(read_only=read_only)
            except BaseException:
                self._database.close()
                raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; does nothing when called again."""
        self._database.close()

    def _open(self, *, read_only: bool) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise UsageError(f"{self.path} is of a later medfuse (layout {version}); use that one")
        if read_only:
            self._database.execute("PRAGMA query_only = 1")
            return
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        with self._written():
            for statement in filter(str.strip, _TABLES.split(";")):
                self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def begin_run(self) -> int:
        """Note that a run begins; what an earlier one left `running` is queued again. Gives the run's number."""
        with self._written():
            self._database.execute("UPDATE studies SET state = 'queued', started_at = NULL WHERE state = 'running'")
            cursor = self._database.execute("INSERT INTO runs (started_at) VALUES (?)", (time.time(),))
        return int(cursor.lastrowid or 0)

    def start_clock(self, number: int) -> None:
        """Note that a run has loaded what it needs, and begins to score."""
        with self._written():
            self._database.execute("UPDATE runs SET started_at = ? WHERE number = ?", (time.time(), number))

    def end_run(self, number: int) -> None:
        """Note that a run has come to its end; what it leaves `running` is queued again, and was no attempt."""
        with self._written():
            self._database.execute(
                "UPDATE studies SET state = 'queued', attempts = attempts - 1, started_at = NULL "
                "WHERE state = 'running'"
            )
            self._database.execute("UPDATE runs SET ended_at = ? WHERE number = ?", (time.time(), number))

    def queue(self, entries: Iterable[Entry], task: Task) -> None:
        """Queue studies for a task, whatever was known of them."""
        now = time.time()
        hashes = (task.model_hash, task.settings_hash, now)
        with self._written():
            self._database.executemany(
                _QUEUE, ((e.key, e.study_instance_uid, e.accession_number, e.input_hash, *hashes) for e in entries)
            )

    def started(self, key: str) -> None:
        """Note that a study is begun."""
        with self._written():
            self._database.execute(
                "UPDATE studies SET state = 'running', attempts = attempts + 1, started_at = ? WHERE key = ?",
                (time.time(), key),
            )

    def scored(self, key: str, timings: Mapping[str, float], flags: Sequence[str] = ()) -> None:
        """Note that a study's result is on the disk."""
        seconds = {stage: round(value, 6) for stage, value in timings.items()}
        with self._written():
            self._database.execute(
                "UPDATE studies SET state = 'scored', reason = '', detail = '', results = results + 1, "
                "finished_at = ?, timings = ?, flags = ? WHERE key = ?",
                (time.time(), json.dumps(seconds), json.dumps(list(flags)), key),
            )

    def rejected(self, key: str, reason: str, detail: str, flags: Sequence[str] = ()) -> None:
        """Note that a study has no result, and why."""
        with self._written():
            self._database.execute(
                "UPDATE studies SET state = 'rejected', reason = ?, detail = ?, finished_at = ?, flags = ? "
                "WHERE key = ?",
                (reason, detail, time.time(), json.dumps(list(flags)), key),
            )

    def requeue(self, keys: Iterable[str]) -> None:
        """Queue studies again whose results are gone."""
        with self._written():
            self._database.executemany("UPDATE studies SET state = 'queued' WHERE key = ?", ((key,) for key in keys))

    def rows(self, *states: State) -> Iterator[LedgerRow]:
        """The studies in the order in which they were first queued; of some states only, when these are named."""
        chosen = states or tuple(State)
        marks = ", ".join("?" * len(chosen))
        with self._errors(), closing(self._database.cursor()) as cursor:
            cursor.row_factory = sqlite3.Row
            query = f"SELECT * FROM studies WHERE state IN ({marks}) ORDER BY rowid"  # noqa: S608 (marks only)
            for row in cursor.execute(query, chosen):
                yield _row(row)

    def get(self, key: str) -> LedgerRow | None:
        """One study; None when the ledger does not know it."""
        with self._errors(), closing(self._database.cursor()) as cursor:
            cursor.row_factory = sqlite3.Row
            row = cursor.execute("SELECT * FROM studies WHERE key = ?", (key,)).fetchone()
            return None if row is None else _row(row)

    def counts(self) -> dict[State, int]:
        """How many studies there are of each state."""
        found = dict(self._select("SELECT state, COUNT(*) FROM studies GROUP BY state"))
        return {state: found.get(state.value, 0) for state in State}

    def reasons(self) -> dict[str, int]:
        """How many studies were rejected for each reason, the most frequent first."""
        return dict(
            self._select(
                "SELECT reason, COUNT(*) FROM studies WHERE state = 'rejected' "
                "GROUP BY reason ORDER BY COUNT(*) DESC, reason"
            )
        )

    def last_run(self) -> tuple[float, float | None, int] | None:
        """When the last run began and ended (None: it has not, or was killed) and how many studies it finished."""
        rows = self._select("SELECT started_at, ended_at FROM runs ORDER BY number DESC LIMIT 1")
        if not rows:
            return None
        started, ended = rows[0]
        ((count,),) = self._select("SELECT COUNT(*) FROM studies WHERE finished_at >= ?", started)
        return started, ended, count

    def last_finished(self) -> float | None:
        """When the last study was finished."""
        ((when,),) = self._select("SELECT MAX(finished_at) FROM studies")
        return None if when is None else float(when)

    def _select(self, query: str, *values: Any) -> list[Any]:
        with self._errors():
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _written(self) -> Iterator[None]:
        """One transaction, on the disk when the block ends."""
        with self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StorageError(f"cannot write {self.path}: {error}; free some space or choose another place") from error
        except sqlite3.DatabaseError as error:
            raise UsageError(
                f"{self.path} is no ledger, or is damaged ({error}); move it away, and every study is scored anew"
            ) from error


def _row(row: sqlite3.Row) -> LedgerRow:
    values = dict(row)
    values["state"] = State(values["state"])
    values["timings"] = json.loads(values["timings"])
    values["flags"] = tuple(json.loads(values["flags"]))
    return LedgerRow(**values)
