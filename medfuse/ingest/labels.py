"""Label files: one row a study (or a patient), one column a finding, joined to the studies of a folder.

Values are 1 present, 0 absent, blank not assessed, and -1 or `u` uncertain (the convention of CheXpert, Irvin et al.
2019), or the names of `LabelValue`. Merlin's label files write -1 for "not mentioned": blank it there before reading.
A column `provenance` says where the labels of a row come from, by the names of `Provenance`. A column `target_<name>`
holds a class, a grade or a number, blank where it is not known; what it may hold, a training config says.
"""

import csv
import io
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medfuse.domain import LabelValue, Provenance, Rejected, Study, pseudonym
from medfuse.errors import ManifestError
from medfuse.storage import write_file

LOG = logging.getLogger(__name__)

KEY_COLUMNS = {
    "study_instance_uid": "study_instance_uid",
    "accession_number": "accession_number",
    "accession": "accession_number",
    "patient_id": "patient_key",
}
"""Column of a label file -> what of a study it is compared with; the first one that a file has is its key."""

_VALUES = {
    **{value.value.lower(): value for value in LabelValue},
    **dict.fromkeys(("1", "1.0"), LabelValue.PRESENT),
    **dict.fromkeys(("0", "0.0"), LabelValue.ABSENT),
    **dict.fromkeys(("-1", "-1.0", "u"), LabelValue.UNCERTAIN),
    "": LabelValue.NOT_ASSESSED,
}
_EXPECTED = "1, 0, -1, blank, PRESENT, ABSENT, UNCERTAIN or NOT_ASSESSED"
_NAMED = 3

PROVENANCE_COLUMN = "provenance"
"""Column of a label file that says where the labels of a row come from."""

TARGET_PREFIX = "target_"
"""Columns of this prefix hold a target each, in a manifest too: a class, a grade or a number; blank for unknown."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")

Values = Mapping[str, LabelValue]


def label_value(text: str) -> LabelValue | None:
    """The label that a cell holds, blank for NOT_ASSESSED; None for a text that is no label."""
    return _VALUES.get(text.strip().lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A label file as read.

    Args:
        source: The file, for messages.
        key: The attribute of a study that `values` is keyed by.
        findings: The columns that hold labels, in the file's order.
        values: Key -> finding -> value. Patient identifiers are hashed by `pseudonym` and not kept.
        lines: Key -> the line of the file it stands on.
        left_out: Column without labels -> why it is none.
        provenance: Key -> where its labels come from; READER where the file does not say.
        targets: Key -> target -> what the file says of it, without its blanks.
    """

    source: Path
    key: str
    findings: tuple[str, ...]
    values: Mapping[str, Values]
    lines: Mapping[str, int]
    left_out: Mapping[str, str]
    provenance: Mapping[str, Provenance] = field(default_factory=dict)
    targets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_labels(path: Path) -> Labels:
    """Read a label file: CSV in UTF-8, separated by commas, semicolons or tabs.

    A column `target_<name>` is a target unless it is blank throughout. Any other column is a finding when every value
    in it is a label value and one is not blank; other columns are left out and named in a log line.

    Raises:
        ManifestError: The file cannot be read, has no key column, or neither a finding nor a target, a key is blank or
            repeats, or a provenance is none.
    """
    header, rows = _read_table(path)
    key_column = next((column for column in KEY_COLUMNS if column in header), None)
    if key_column is None:
        raise ManifestError(
            f"{path}: no key column; found {', '.join(header)}, expected one of {', '.join(KEY_COLUMNS)}"
        )
    lines = _keys(path, key_column, rows)
    left_out: dict[str, str] = {}
    provenance = _provenance(path, lines, rows)
    columns = [column for column in header if column not in KEY_COLUMNS and column != PROVENANCE_COLUMN]
    targets = _targets(path, columns, rows)
    findings = [column for column in columns if column not in targets]
    for column in list(findings):
        if reason := _no_finding(column, rows):
            left_out[column] = reason
            findings.remove(column)
    if left_out:
        LOG.info("%s: columns without labels are left out: %s", path.name, ", ".join(left_out))
    if not findings and not targets:
        raise ManifestError(
            f"{path}: no column holds labels; expected values are {_EXPECTED}, or any under {TARGET_PREFIX}<name>"
        )
    values = {
        key: {finding: _VALUES[row[finding].lower()] for finding in findings}
        for key, (_, row) in zip(lines, rows, strict=True)
    }
    return Labels(
        source=path,
        key=KEY_COLUMNS[key_column],
        findings=tuple(findings),
        values=values,
        lines=lines,
        left_out=left_out,
        provenance=provenance,
        targets={
            key: {name.removeprefix(TARGET_PREFIX): row[name] for name in targets if row[name]}
            for key, (_, row) in zip(lines, rows, strict=True)
        },
    )


def write_labels(
    path: Path,
    key_column: str,
    labels: Mapping[str, Mapping[str, LabelValue]],
    provenance: Provenance = Provenance.READER,
) -> None:
    """Write a label file that `read_labels` reads, whole or not at all.

    Args:
        path: The file; one of that name is replaced.
        key_column: One of `KEY_COLUMNS`.
        labels: Key -> finding -> value, the same findings for every key.
        provenance: Where the labels come from.

    Raises:
        ValueError: There are no labels, or the key column is unknown.
        StorageError: The place cannot be written, or is full.
    """
    if not labels or key_column not in KEY_COLUMNS:
        raise ValueError("a label file has rows, and a key column that is known")
    findings = list(next(iter(labels.values())))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([key_column, *map(_guard, findings), PROVENANCE_COLUMN])
    for key, values in labels.items():
        writer.writerow([_guard(key), *(values[name].value for name in findings), provenance.value])
    content = out.getvalue().encode("utf-8", errors="surrogateescape")
    write_file(path, lambda aside: aside.write_bytes(content))


def join_labels(
    studies: Sequence[Study],
    labels: Labels,
    findings: Sequence[str] | None = None,
    *,
    rejected: Sequence[Rejected] = (),
) -> dict[str, dict[str, LabelValue]]:
    """The labels of every study.

    Args:
        studies: The studies of a folder.
        labels: What `read_labels` gave.
        findings: The columns to take, in this order; all of `labels.findings` when left out.
        rejected: Studies of the folder that cannot be used: the file may name them.

    Returns:
        Study UID -> finding -> value; a study that the file does not name is NOT_ASSESSED throughout.

    Raises:
        ManifestError: The file names studies that the folder lacks, or lacks a column of `findings`.
    """
    wanted = tuple(dict.fromkeys(labels.findings if findings is None else findings))
    for name in wanted:
        if name not in labels.findings:
            found = labels.left_out.get(name, f"no such column, found {', '.join(labels.findings)}")
            raise ManifestError(f"{labels.source}: column {name} holds no labels: {found}")
    keys = {study.study_instance_uid: _key_of(study, labels.key) for study in studies}
    _refuse_unknown(labels, set(keys.values()), rejected)
    unlabelled = sum(key not in labels.values for key in keys.values())
    if unlabelled:
        LOG.info(
            "%s: %d of %d studies are not named and count as not assessed", labels.source.name, unlabelled, len(keys)
        )
    nothing: Values = dict.fromkeys(wanted, LabelValue.NOT_ASSESSED)
    return {uid: {name: labels.values.get(key, nothing)[name] for name in wanted} for uid, key in keys.items()}


def join_targets(studies: Sequence[Study], labels: Labels) -> dict[str, dict[str, str]]:
    """What is known of the targets of every study: study UID -> target -> value, without the unknown ones.

    Args:
        studies: The studies of a folder.
        labels: What `read_labels` gave; that its keys fit the folder, `join_labels` sees to.
    """
    return {study.study_instance_uid: dict(labels.targets.get(_key_of(study, labels.key), {})) for study in studies}


def _key_of(study: Study, key: str) -> str:
    """What of `study` the labels are keyed by; a blank accession number matches nothing."""
    return {
        "study_instance_uid": study.study_instance_uid,
        "accession_number": study.accession_number,
        "patient_key": study.patient_key,
    }[key]


def _refuse_unknown(labels: Labels, known: set[str], rejected: Sequence[Rejected]) -> None:
    """Raise for keys that no study has. Accession numbers and patients are told by line only, never by value."""
    if labels.key == "patient_key" and rejected:
        return
    of_rejected = {r.study_instance_uid for r in rejected} | {r.accession_number for r in rejected}
    unknown = [key for key in labels.values if key not in known and key not in of_rejected]
    if not unknown:
        return
    by_uid = labels.key == "study_instance_uid"
    named = [key if by_uid else f"line {labels.lines[key]}" for key in unknown[:_NAMED]]
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    raise ManifestError(
        f"{labels.source}: names {len(unknown)} of {len(labels.values)} studies that the folder does not hold, by "
        f"{labels.key}: {', '.join(named)}{more}; index the folder that the labels belong to, or remove those rows"
    )


def _read_table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Header, and (line, column -> value) of each row; names and values are stripped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 at byte {error.start}; save it as CSV in UTF-8") from error
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror or 'cannot be read'}") from error
    first = text.splitlines()[0] if text else ""
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [_unguard(name.strip()) for name in next(reader, [])]
        repeated = [name for name, n in Counter(header).items() if n > 1 or not name]
        if repeated or not header:
            raise ManifestError(f"{path}: line 1 must name every column once; blank or repeated: {repeated}")
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise ManifestError(
                    f"{path}: line {reader.line_num} has {len(cells)} values, expected {len(header)} as in the header"
                )
            rows.append((reader.line_num, {k: _unguard(v.strip()) for k, v in zip(header, cells, strict=True)}))
    except csv.Error as error:
        raise ManifestError(f"{path}: line {reader.line_num} is no CSV: {error}") from error
    if not rows:
        raise ManifestError(f"{path}: holds no rows")
    return header, rows


def _keys(path: Path, column: str, rows: Sequence[tuple[int, dict[str, str]]]) -> dict[str, int]:
    lines: dict[str, int] = {}
    for line, row in rows:
        key = row[column]
        if not key:
            raise ManifestError(f"{path}: line {line} has no {column}")
        if KEY_COLUMNS[column] == "patient_key":
            key = pseudonym(key)
        if key in lines:
            raise ManifestError(f"{path}: line {line} repeats the {column} of line {lines[key]}; keep one row for each")
        lines[key] = line
    return lines


def _targets(path: Path, columns: Sequence[str], rows: Sequence[tuple[int, dict[str, str]]]) -> list[str]:
    """The columns that hold targets.

    Raises:
        ManifestError: One has no name behind the prefix.
    """
    if TARGET_PREFIX in columns:
        raise ManifestError(f"{path}: the column {TARGET_PREFIX} names no target; call it {TARGET_PREFIX}<name>")
    return [name for name in columns if name.startswith(TARGET_PREFIX) and any(row[name] for _, row in rows)]


def _no_finding(column: str, rows: Sequence[tuple[int, dict[str, str]]]) -> str | None:
    """Why a column holds no labels, or None where it does."""
    if not any(row[column] for _, row in rows):
        return "every value is blank"
    for line, row in rows:
        if row[column].lower() not in _VALUES:
            return f"line {line} is no label value, expected {_EXPECTED}"
    return None


def _provenance(
    path: Path, lines: Mapping[str, int], rows: Sequence[tuple[int, dict[str, str]]]
) -> dict[str, Provenance]:
    """Where the labels of each key come from."""
    found = {}
    for key, (line, row) in zip(lines, rows, strict=True):
        told = row.get(PROVENANCE_COLUMN, "").upper() or Provenance.READER.value
        if told not in Provenance.__members__:
            known = ", ".join(Provenance)
            raise ManifestError(f"{path}: line {line}, column {PROVENANCE_COLUMN}: expected one of {known}, or blank")
        found[key] = Provenance(told)
    return found


def _guard(cell: str) -> str:
    """A cell behind an apostrophe where a spreadsheet would take it for a formula (OWASP, "CSV Injection")."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell


def _unguard(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA_STARTS) else cell
