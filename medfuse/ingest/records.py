"""What headers said, as JSON: each value once, and for each file which of them are its own.

A cache keeps it, and a second process tells it. Who a file belongs to is no part of a record.
"""

from collections.abc import Sequence
from typing import Any

from medfuse.ingest.dicom.files import DicomFile, PixelSpan
from medfuse.ingest.dicom.header import KnownHeader, PlainHeader
from medfuse.ingest.dicom.scan import Instance, instance_of
from medfuse.ingest.file_kinds import Problem, Sorted
from medfuse.ingest.tree import FoundFile

_IDENTITY = ("PatientID", "AccessionNumber")
_SIMPLE = frozenset({str, int, float, tuple, type(None)})

Record = str | list[Any]
"""A reason, a list of one reason for a problem, or the numbers of an instance's keys and values."""


class RecordWriter:
    """Makes records.

    Args:
        schemas: The keys of headers -> their number; grows.
        values: Type and value -> their number; grows.
    """

    def __init__(self) -> None:
        self.schemas: dict[tuple[Any, ...], int] = {}
        self.values: dict[tuple[type, Any], int] = {}

    def record(self, what: Sorted) -> Record | None:
        """The record of what a file is; None for a file that only pydicom can read."""
        if not isinstance(what, Instance):
            return [what.reason] if isinstance(what, Problem) else what
        header = None if what.file is None else what.file.header
        if what.file is None or not isinstance(header, PlainHeader | KnownHeader) or not _is_simple(header):
            return None
        values = {key: value for key, value in header.values.items() if key not in _IDENTITY}
        _, _, span, syntax, _, sop_class, sop_uid = what.file
        told = (syntax, sop_class, sop_uid, None if span is None else tuple(span), *values.values())
        number_of, known = self.values.setdefault, self.values
        found = [number_of((value.__class__, value), len(known)) for value in told]
        return [self.schemas.setdefault(tuple(values), len(self.schemas)), *found]


class RecordReader:
    """Reads records."""

    def __init__(self) -> None:
        self._schemas: list[list[Any]] = []
        self._values: list[Any] = []

    def learn(self, schemas: Sequence[Sequence[Any]], values: Sequence[Any]) -> None:
        """Take in the keys and values that records from now on may name."""
        self._schemas += [[tuple(key) if isinstance(key, list) else key for key in keys] for keys in schemas]
        self._values += [tuple(value) if isinstance(value, list) else value for value in values]

    def what(self, file: FoundFile, record: Record, patient_key: str, accession_number: str) -> Sorted:
        """What a file is.

        Args:
            file: The file.
            record: Its record.
            patient_key: Whose it is, for an instance.
            accession_number: Likewise.

        Raises:
            IndexError: The record names what was never told.
        """
        if isinstance(record, str):
            return record
        if len(record) == 1:
            return Problem(record[0], file.path)
        schema, *numbers = record
        values = [self._values[number] for number in numbers]
        syntax, sop_class, sop_uid, span = values[:4]
        header = KnownHeader(dict(zip(self._schemas[schema], values[4:], strict=True)))
        opened = DicomFile(file.path, header, span and PixelSpan(*span), syntax, True, sop_class, sop_uid)
        return instance_of(opened)._replace(patient_key=patient_key, accession_number=accession_number)


def _is_simple(header: PlainHeader | KnownHeader) -> bool:
    """Whether all that was read of a header is text and numbers; bytes may hold names."""
    return _SIMPLE.issuperset(map(type, header.values.values()))
