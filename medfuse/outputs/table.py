"""`scores.csv`: one row a study, safe to append to and to lose power over.

Columns: `study_instance_uid`, `accession_number`, `status` (`scored` or `rejected`), `reason` (a rejection's stable
code; its detail can hold a path and stays out), `model` (name, `@`, start of the weights' hash),
`probability_<finding>` each, `volume_mm3_<segment>` each, and from an ensemble `spread_<finding>` each, the standard
deviation of the probability over its members. A value that a study does not have is an empty cell.

Each row is one line, forced to the disk before the next study begins. A study scored again is appended too; `close`
(or the next opening, after a crash) keeps the last row of each study, in the place of its first. A torn last line is
dropped on opening. A cell that a spreadsheet would run as a formula is written with an apostrophe before it, which
`read_scores` takes off again.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, cast

from medfuse.domain import LabelSet, ModelIdentity, Rejected, StudyOutcome
from medfuse.errors import StudyError, UsageError
from medfuse.storage import storage, write_file

_FIRST = ("study_instance_uid", "accession_number", "status", "reason", "model")
_PROBABILITY, _VOLUME, _SPREAD = "probability_", "volume_mm3_", "spread_"
_STATUSES = ("scored", "rejected")
_FORMULA = re.compile(r"'* *[=+\-@]")
_GUARDED = re.compile(r"'+ *[=+\-@]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_REASON = re.compile(r"[A-Z][A-Z0-9_]*")
_HASH_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One row of `scores.csv`.

    Args:
        study_instance_uid: Which study.
        accession_number: May be empty.
        status: `scored` or `rejected`.
        reason: A rejection's code; empty for a scored study.
        model: Name and start of the weights' hash.
        probabilities: Finding -> probability, None where there is none.
        volumes_mm3: Segment -> volume in mm3, None where there is none.
        spreads: Finding -> standard deviation over the members; empty for a table of a single model.
    """

    study_instance_uid: str
    accession_number: str
    status: Literal["scored", "rejected"]
    reason: str
    model: str
    probabilities: dict[str, float | None]
    volumes_mm3: dict[str, float | None]
    spreads: dict[str, float | None] = field(default_factory=dict)


class ScoreTable:
    """An open `scores.csv`; a context manager. One process writes to it at a time.

    Args:
        path: The table; made with its header if absent, repaired and continued if there.
        label_set: What the model predicts: it makes the columns.
        model: Stands in the `model` column of rejected studies.
        ensemble: Whether there are columns for the spread over members.

    Raises:
        UsageError: The file there is of another label set, or no score table.
        StorageError: It cannot be written.
    """

    def __init__(
        self, path: Path, label_set: LabelSet, *, model: ModelIdentity | None = None, ensemble: bool = False
    ) -> None:
        self.path = path
        self.columns = columns_of(label_set, ensemble=ensemble)
        self._ensemble = ensemble
        self._label_set = label_set
        self._model = model
        rows, needs_writing = _load(path, self.columns)
        if needs_writing:
            _rewrite(path, self.columns, rows)
        self._uids = {row[0] for row in rows}
        self._repeats = False
        with storage(path):
            self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))

    def __enter__(self) -> "ScoreTable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def append(self, outcome: StudyOutcome) -> None:
        """Add a study's row; it is on the disk when this returns.

        Raises:
            ValueError: The findings or segments are not those of the label set, or the table is closed.
            StorageError: The row could not be written; the table is as before.
        """
        if self._descriptor is None:
            raise ValueError("the score table is closed")
        cells = self._cells(outcome)
        line = _lines([cells])
        with storage(self.path):
            size = os.fstat(self._descriptor).st_size
            try:
                _write_all(self._descriptor, line)
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, size)
                raise
        self._repeats |= bool(cells[0]) and cells[0] in self._uids
        self._uids.add(cells[0])

    def close(self) -> None:
        """Close the table and keep one row a study; does nothing when called again.

        Raises:
            StorageError: The table could not be rewritten; it still holds every row.
        """
        if self._descriptor is None:
            return
        os.close(self._descriptor)
        self._descriptor = None
        if self._repeats:
            rows, _ = _load(self.path, self.columns)
            _rewrite(self.path, self.columns, rows)

    def _cells(self, outcome: StudyOutcome) -> list[str]:
        if isinstance(outcome, Rejected):
            reason = outcome.reason if _REASON.fullmatch(outcome.reason) else StudyError.default_reason
            model = "" if self._model is None else _model_cell(self._model)
            texts = [outcome.study_instance_uid, outcome.accession_number, "rejected", reason, model]
            return [*map(_cell, texts), *[""] * (len(self.columns) - len(_FIRST))]
        prediction = outcome.prediction
        probabilities = {finding.name: finding.probability for finding in prediction.findings}
        volumes = {segment.name: segment.volume_mm3 for segment in prediction.segment_volumes}
        _check_names("findings", probabilities, self._label_set.findings)
        _check_names("segments", volumes, self._label_set.segments if volumes else ())
        model = _model_cell(prediction.model)
        texts = [prediction.study_instance_uid, prediction.accession_number, "scored", "", model]
        numbers = [probabilities.get(name) for name in self._label_set.findings]
        numbers += [volumes.get(name) for name in self._label_set.segments]
        if self._ensemble:
            spreads = {finding.name: finding.spread for finding in prediction.findings}
            numbers += [spreads.get(name) for name in self._label_set.findings]
        return [*map(_cell, texts), *("" if number is None else repr(float(number)) for number in numbers)]


def columns_of(label_set: LabelSet, *, ensemble: bool = False) -> tuple[str, ...]:
    """The columns of a label set's table, in order; an ensemble's has the spread of each finding too."""
    findings = (f"{_PROBABILITY}{name}" for name in label_set.findings)
    segments = (f"{_VOLUME}{name}" for name in label_set.segments)
    spreads = (f"{_SPREAD}{name}" for name in label_set.findings if ensemble)
    return (*_FIRST, *map(_one_line, findings), *map(_one_line, segments), *map(_one_line, spreads))


def read_scores(path: Path) -> tuple[ScoreRow, ...]:
    """Read a `scores.csv`: the last row of each study, in the order of their first; a torn last line is passed over.

    Raises:
        UsageError: The file is missing or no score table, or a row does not fit its header.
    """
    if not path.is_file():
        raise UsageError(f"cannot read {path}: no such file; it is written by medfuse score")
    rows, _ = _load(path, None)
    header = rows.pop(0)
    return tuple(_parsed(path, header, row) for row in rows)


def _parsed(path: Path, header: Sequence[str], row: Sequence[str]) -> ScoreRow:
    uid, accession, status, reason, model = (_unguarded(cell) for cell in row[: len(_FIRST)])
    if status not in _STATUSES:
        raise UsageError(f"{path}: study {uid} has status {status!r}, expected one of {', '.join(_STATUSES)}")
    numbers: dict[str, float | None] = {}
    for column, cell in zip(header[len(_FIRST) :], row[len(_FIRST) :], strict=True):
        try:
            numbers[column] = float(cell) if cell else None
        except ValueError as error:
            raise UsageError(f"{path}: study {uid} has {cell!r} in {column}, expected a number") from error
    return ScoreRow(
        study_instance_uid=uid,
        accession_number=accession,
        status=cast("Literal['scored', 'rejected']", status),
        reason=reason,
        model=model,
        probabilities={c.removeprefix(_PROBABILITY): v for c, v in numbers.items() if c.startswith(_PROBABILITY)},
        volumes_mm3={c.removeprefix(_VOLUME): v for c, v in numbers.items() if c.startswith(_VOLUME)},
        spreads={c.removeprefix(_SPREAD): v for c, v in numbers.items() if c.startswith(_SPREAD)},
    )


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
    if tuple(header[: len(_FIRST)]) != _FIRST:
        raise UsageError(f"{path} is no score table of medfuse; choose another place")
    if columns is not None and tuple(header) != tuple(columns):
        raise UsageError(_mismatch(path, header, columns))
    torn = len(whole) < len(data)
    if lines and len(lines[-1]) != len(header):
        lines.pop()
        torn = True
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise UsageError(f"{path}, line {number}: {len(line)} cells, expected {len(header)}; repair or remove it")
    rows = _last_of_each(lines)
    needs_writing = torn or len(rows) < len(lines)
    return ([header, *rows] if columns is None else rows), needs_writing


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


def _check_names(kind: str, given: Iterable[str], expected: Iterable[str]) -> None:
    if set(given) != set(expected):
        raise ValueError(f"the prediction's {kind} are {sorted(given)}, the table's {sorted(expected)}")


def _model_cell(model: ModelIdentity) -> str:
    return f"{model.name}@{model.weights_sha256[:_HASH_LENGTH]}"


def _one_line(text: str) -> str:
    return _CONTROL.sub(" ", text)


def _cell(text: str) -> str:
    """`text` on one line, and no formula."""
    line = _one_line(text)
    return f"'{line}" if _FORMULA.match(line) else line


def _unguarded(cell: str) -> str:
    return cell[1:] if _GUARDED.match(cell) else cell
