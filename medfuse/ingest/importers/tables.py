"""Tables that come with data sets: rows as text, label columns, labels of studies, reports made of columns.

The standard library's `csv` reads them row by row, so that the tables of a whole data set need no memory when a part of
it lies on the disk.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from medfuse.domain import LabelValue, Report, ReportSection, SectionName
from medfuse.errors import ManifestError
from medfuse.ingest.labels import Labels, label_value

MISSING = frozenset({"", "n/a", "na", "nan", "none", "null", "not given", "not given."})
"""What tables write, in any case, for a value that is not there."""

Row = Mapping[str, str]


def read_rows(path: Path, *, required: Sequence[str] = ()) -> Iterator[tuple[int, Row]]:
    """The rows of a CSV or TSV file as (line, column -> stripped text), one by one.

    Args:
        path: Separated by tabs when it ends in `.tsv`, else by what its first line holds most of: `,`, `;` or a tab.
        required: Columns that it must have.

    Raises:
        ManifestError: It cannot be read, is no UTF-8, is cut, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = "\t" if path.suffix == ".tsv" else max(",;\t", key=first.count)
            header = [name.strip() for name in next(csv.reader(io.StringIO(first), delimiter=delimiter), [])]
            lacking = [name for name in required if name not in header]
            if lacking:
                raise ManifestError(f"{path}: lacks the column {', '.join(lacking)}; found {', '.join(header)}")
            reader = csv.reader(file, delimiter=delimiter)
            for cells in reader:
                if len(cells) == len(header):
                    yield reader.line_num + 1, {k: v.strip() for k, v in zip(header, cells, strict=True)}
                elif any(cells):
                    line = reader.line_num + 1
                    raise ManifestError(f"{path}: line {line} has {len(cells)} values, expected {len(header)}")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 at byte {error.start}; save it in UTF-8") from error
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except csv.Error as error:
        raise ManifestError(f"{path}: no CSV: {error}") from error


def given(row: Row, *columns: str) -> str:
    """The first of these columns that the row has a value in; empty where a table writes that there is none."""
    values = (row.get(column, "").strip() for column in columns)
    return next((value for value in values if value.casefold() not in MISSING), "")


def labels_of(source: Path, findings: Mapping[str, Mapping[str, LabelValue]]) -> Labels | None:
    """Labels keyed by Study Instance UID.

    Args:
        source: The table, for messages.
        findings: Study UID -> finding -> value; a finding that a study lacks is NOT_ASSESSED.

    Returns:
        The labels, findings in the order in which they first appear; None where there are none.
    """
    names = tuple(dict.fromkeys(name for values in findings.values() for name in values))
    if not names:
        return None
    values = {
        uid: {name: found.get(name, LabelValue.NOT_ASSESSED) for name in names} for uid, found in findings.items()
    }
    return Labels(
        source=source,
        key="study_instance_uid",
        findings=names,
        values=values,
        lines=dict.fromkeys(values, 0),
        left_out={},
    )


def label_columns(rows: Sequence[Row], keys: Sequence[str]) -> tuple[str, ...]:
    """The columns that hold nothing but label values and at least one of them, without the key columns."""
    names = [name for name in (rows[0] if rows else {}) if name not in keys]
    return tuple(
        name
        for name in names
        if any(given(row, name) for row in rows) and all(label_value(given(row, name)) is not None for row in rows)
    )


def agreed(values: Sequence[LabelValue]) -> LabelValue:
    """One value of several of the same finding: the assessed ones where they agree, else UNCERTAIN."""
    assessed = {value for value in values if value is not LabelValue.NOT_ASSESSED}
    if not assessed:
        return LabelValue.NOT_ASSESSED
    return assessed.pop() if len(assessed) == 1 else LabelValue.UNCERTAIN


def report_of(parts: Sequence[tuple[SectionName, str]]) -> Report | None:
    """A report of columns: each under a heading of its own, so that no words inside it can open another section.

    Args:
        parts: Section and text; texts that are missing or say so are left out.
    """
    text, sections = "", []
    for name, body in parts:
        if body.strip().casefold() in MISSING:
            continue
        start, heading = len(text), f"{name}: "
        text += f"{heading}{body.strip()}\n\n"
        sections.append(ReportSection(name=name, start=start, end=len(text), body_start=start + len(heading)))
    return Report(text=text, sections=tuple(sections)) if sections else None
