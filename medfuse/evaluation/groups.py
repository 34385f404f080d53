"""Which group each study is in, by the columns of a manifest: `sex`, `scanner`, `age:10` (bands of ten), `has_report`.

Any column of the manifest serves, those that you added too. `has_report` is made of `report_count`. A number of bands
behind a colon cuts a column of numbers: `age:10` gives `60 to 69`. A blank cell, or one that is no number where numbers
are wanted, is `not known`. Cells are data: they go into tables and JSON as they are, cut to a sensible length.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import floor, isfinite
from pathlib import Path

from medfuse.errors import ManifestError, UsageError
from medfuse.evaluation.cases import Case

NOT_KNOWN = "not known"
HAS_REPORT = "has_report"
MOST_GROUPS = 50
_LONGEST = 60
_IDENTIFYING = ("study_instance_uid", "patient_key", "accession_number", "path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """A way to cut studies into groups.

    Args:
        column: Of the manifest, or `has_report`.
        band: Width of the bands of a column of numbers; None to take each value for a group.
    """

    column: str
    band: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Grouping":
        """The grouping that `COLUMN` or `COLUMN:WIDTH` names.

        Raises:
            UsageError: The width is no number above 0, or the column identifies people.
        """
        column, _, width = text.strip().rpartition(":")
        grouping = cls(column=text.strip())
        if column and (band := _number(width)) is not None:  # a column may have a colon in its name
            grouping = cls(column=column, band=band)
            if not band > 0:
                raise UsageError(f"--by {text}: the width of a band is above 0, not {width}")
        if grouping.column in _IDENTIFYING:
            raise UsageError(f"--by {text}: this column tells studies or people apart and makes no groups")
        return grouping

    def __str__(self) -> str:
        """As `parse` reads it."""
        return self.column if self.band is None else f"{self.column}:{self.band:g}"

    def group(self, cell: str) -> str:
        """The group of a study whose cell holds this text."""
        text = " ".join(cell.split())[:_LONGEST]
        if self.band is None or not text:
            return text or NOT_KNOWN
        number = _number(text)
        return NOT_KNOWN if number is None else _band(number, self.band)


def group_cases(cases: Sequence[Case], manifest: Path, groupings: Sequence[Grouping]) -> tuple[Case, ...]:
    """The cases, each with its group of every grouping.

    Args:
        cases: The scored studies.
        manifest: The manifest with the columns.
        groupings: Which.

    Raises:
        ManifestError: The manifest lacks a column.
        UsageError: A column has more than `MOST_GROUPS` groups.
    """
    columns = {str(grouping): groups_of(manifest, grouping) for grouping in groupings}
    for name, groups in columns.items():
        found = {groups.get(case.study_instance_uid, NOT_KNOWN) for case in cases}
        if len(found) > MOST_GROUPS:
            raise UsageError(
                f"--by {name} makes {len(found)} groups, expected at most {MOST_GROUPS}; give a width, as in age:10"
            )
    return tuple(
        replace(case, groups={name: groups.get(case.study_instance_uid, NOT_KNOWN) for name, groups in columns.items()})
        for case in cases
    )


def groups_of(manifest: Path, grouping: Grouping) -> dict[str, str]:
    """Study UID -> its group, for every study of a manifest.

    Raises:
        ManifestError: The manifest cannot be read or lacks the column.
    """
    try:
        text = manifest.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise ManifestError(f"{manifest}: {error.strerror or 'cannot be read'}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    column = "report_count" if grouping.column == HAS_REPORT else grouping.column
    if column not in (reader.fieldnames or ()):
        known = ", ".join(name for name in (reader.fieldnames or ()) if name not in _IDENTIFYING)
        raise ManifestError(f"{manifest} has no column {grouping.column!r} to group by; it has: {known}")
    return {row["study_instance_uid"]: _group_of(grouping, row.get(column) or "") for row in reader}


def order_of(groups: Iterable[str]) -> list[str]:
    """Groups in their order: numbers and bands by size, words by the alphabet, `not known` last."""
    return sorted(set(groups), key=_rank)


def _group_of(grouping: Grouping, cell: str) -> str:
    if grouping.column == HAS_REPORT:
        return "with report" if cell.strip() not in ("", "0") else "without report"
    unguarded = cell[1:] if cell.startswith("'") and cell[1:2] in "=+-@\t\r'" else cell
    return grouping.group(unguarded.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _rank(group: str) -> tuple[bool, bool, float, str]:
    first = _number(group.split(" to ")[0])
    return group == NOT_KNOWN, first is None, first or 0.0, group


def _number(text: str) -> float | None:
    """The finite number that a text is; None for any other."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _band(number: float, width: float) -> str:
    """The band of a number, e.g. `60 to 69`, or `0.5 to <1` where the width is no whole number."""
    low = floor(number / width) * width
    if float(width).is_integer():
        return f"{low:.0f}" if width == 1 else f"{low:.0f} to {low + width - 1:.0f}"
    return f"{low:g} to <{low + width:g}"
