"""`scores.csv`: one row a study, safe to append to and to lose power over; and `scores.parquet` beside it.

`table_columns` says what the columns are. A table of an older medfuse gets the newer columns, empty, when it is opened.

Each row is one line, forced to the disk before the next study begins. A study scored again is appended too; `close`
(or the next opening, after a crash) keeps the last row of each study, in the place of its first. A torn last line is
dropped on opening. A cell that a spreadsheet would run as a formula is written with an apostrophe before it, which
`read_scores` takes off again.

`scores.parquet` holds the same rows in the same columns, typed, for programs. It is written whole whenever the table is
closed; while a run goes on, or after a crash, the CSV is the newer one.
"""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from medfuse.domain import LabelSet, ModelIdentity, StudyOutcome
from medfuse.errors import StorageError, UsageError
from medfuse.outputs.table_columns import FIRST, ScoreRow, cells_of, columns_of, may_be_added, row_of
from medfuse.outputs.table_parquet import write_parquet
from medfuse.storage import storage, write_file

PARQUET_SUFFIX = ".parquet"


class ScoreTable:
    """An open `scores.csv`; a context manager. One process writes to it at a time.

    Args:
        path: The table; made with its header if absent, repaired and continued if there.
        label_set: What the model predicts: it makes the columns.
        model: Stands in the `model` column of rejected studies.
        ensemble: Whether there are columns for the spread, over members or augmentations.

    Raises:
        UsageError: The file there is of another label set, or no score table.
        StorageError: It cannot be written.
    """

    def __init__(
        self, path: Path, label_set: LabelSet, *, model: ModelIdentity | None = None, ensemble: bool = False
    ) -> None:
        self.path = path
        self.columns = columns_of(label_set, ensemble=ensemble)
        self._label_set = label_set
        self._model = model
        rows, needs_writing = _load(path, self.columns)
        if needs_writing:
            _rewrite(path, self.columns, rows)
        with storage(path):
            self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))

    def __enter__(self) -> "ScoreTable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(is_whole=kind is None or not issubclass(kind, StorageError))

    def append(self, outcome: StudyOutcome) -> None:
        """Add a study's row; it is on the disk when this returns.

        Raises:
            ValueError: The findings or segments are not those of the label set, or the table is closed.
            StorageError: The row could not be written; the table is as before.
        """
        if self._descriptor is None:
            raise ValueError("the score table is closed")
        cells = cells_of(outcome, self.columns, self._label_set, self._model)
        line = _lines([cells])
        with storage(self.path):
            size = os.fstat(self._descriptor).st_size
            try:
                _write_all(self._descriptor, line)
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, size)
                raise

    def close(self) -> None:
        """Close the table, keep one row a study, and write `scores.parquet`; does nothing when called again.

        Raises:
            StorageError: The table could not be rewritten; it still holds every row.
        """
        self._close(is_whole=True)

    def _close(self, *, is_whole: bool) -> None:
        """Close the table; after a disk that is full, leave what stands there as it is."""
        if self._descriptor is None:
            return
        os.close(self._descriptor)
        self._descriptor = None
        if not is_whole:
            return
        rows, needs_writing = _load(self.path, self.columns)
        if needs_writing:
            _rewrite(self.path, self.columns, rows)
        write_parquet(self.path.with_suffix(PARQUET_SUFFIX), self.columns, rows)


def read_scores(path: Path) -> tuple[ScoreRow, ...]:
    """Read a `scores.csv`: the last row of each study, in the order of their first; a torn last line is passed over.

    Raises:
        UsageError: The file is missing or no score table, or a row does not fit its header.
    """
    if not path.is_file():
        raise UsageError(f"cannot read {path}: no such file; it is written by medfuse score")
    rows, _ = _load(path, None)
    header = rows.pop(0)
    return tuple(row_of(path, header, row) for row in rows)


def _load(path: Path, columns: Sequence[str] | None) -> tuple[list[list[str]], bool]:
    """The rows, one a study, and whether the file has to be written anew; without `columns`, the header comes first."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], True
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    whole = data[: data.rfind(b"\n") + 1]
    if columns is not None and not whole and _lines([columns]).startswith(data):
        return [], True
    lines = _parsed_lines(path, whole)
    header = lines.pop(0) if lines else []
    if tuple(header[: len(FIRST)]) != FIRST:
        raise UsageError(f"{path} is no score table of medfuse; choose another place")
    newer = columns is not None and tuple(header) != tuple(columns)
    if columns is not None and newer and not _lacks_newer_columns_alone(header, columns):
        raise UsageError(_mismatch(path, header, columns))
    torn = len(whole) < len(data)
    if lines and len(lines[-1]) != len(header):
        lines.pop()
        torn = True
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise UsageError(f"{path}, line {number}: {len(line)} cells, expected {len(header)}; repair or remove it")
    rows = _last_of_each(lines)
    if columns is None:
        return [header, *rows], False
    if newer:
        rows = [[dict(zip(header, row, strict=True)).get(column, "") for column in columns] for row in rows]
    return rows, newer or torn or len(rows) < len(lines)


def _lacks_newer_columns_alone(header: Sequence[str], columns: Sequence[str]) -> bool:
    """Whether a table was written by an older medfuse for the same label set."""
    lacks = set(columns).difference(header)
    return [column for column in columns if column not in lacks] == list(header) and all(map(may_be_added, lacks))


def _parsed_lines(path: Path, data: bytes) -> list[list[str]]:
    try:
        text = data.decode("utf-8-sig")
        return [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV in UTF-8; repair or remove it") from error


def _last_of_each(lines: Iterable[list[str]]) -> list[list[str]]:
    """The last row of each study in the place of its first; rows without a UID are all kept."""
    rows: dict[tuple[str, int], list[str]] = {}
    for number, line in enumerate(lines):
        rows[(line[0], 0 if line[0] else number)] = line
    return list(rows.values())


def _mismatch(path: Path, found: Sequence[str], expected: Sequence[str]) -> str:
    lacks = [column for column in expected if column not in found]
    extra = [column for column in found if column not in expected]
    what = "; ".join(f"{verb} {', '.join(names)}" for verb, names in (("it lacks", lacks), ("it has", extra)) if names)
    detail = what or "its columns are in another order"
    return f"{path} is of another label set: {detail}; choose another folder"


def _rewrite(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    data = _lines([columns, *rows])
    write_file(path, lambda aside: aside.write_bytes(data))


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8")


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
