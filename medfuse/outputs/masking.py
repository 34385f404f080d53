"""Keeps the patient out of the copy of the text that goes into `prediction.json`.

A report can name the patient in its own words, and the text that a model read is stored with its answer. Names,
identifiers and the birth date of the source headers are overwritten with `X`, length for length, so that the evidence
offsets still hold. It hides what the headers know and nothing else: it is no de-identification of free text.
"""

import re
from collections.abc import Iterable, MutableSequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

_NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson")
_IDENTIFIERS = ("PatientID", "OtherPatientIDs")
_SHORTEST_NAME = 3
_SHORTEST_IDENTIFIER = 4


def identity_terms(header: "Dataset") -> frozenset[str]:
    """The words of a DICOM header that name the patient: name parts, identifiers, the birth date as people write it.

    Parts too short to tell from ordinary words are left out: names below 3 ASCII letters, identifiers below 4
    characters.
    """
    names = {part for value in _values(header, _NAMES) for part in re.split(r"[\^=\s,.]+", value) if _is_name(part)}
    identifiers = {value for value in _values(header, _IDENTIFIERS) if len(value) >= _SHORTEST_IDENTIFIER}
    nested = header.get("OtherPatientIDsSequence") or ()
    return frozenset(names | identifiers | _dates(header)).union(*(identity_terms(item) for item in nested))


def masked(text: str, terms: Iterable[str]) -> str:
    """`text` with every whole-word occurrence of a term, in any case, overwritten with `X`; its length is kept."""
    longest_first = sorted((term for term in terms if term), key=len, reverse=True)
    if not longest_first:
        return text
    pattern = "|".join(rf"(?<!\w){re.escape(t)}(?!\w)" if t.isascii() else re.escape(t) for t in longest_first)
    return re.sub(pattern, lambda match: "X" * len(match[0]), text, flags=re.IGNORECASE)


def _values(header: "Dataset", keywords: Iterable[str]) -> Iterable[str]:
    for keyword in keywords:
        value = header.get(keyword)
        if not value:
            continue
        parts = value if isinstance(value, MutableSequence) else [value]
        yield from (str(part).strip() for part in parts if part)


def _is_name(part: str) -> bool:
    return any(c.isalpha() for c in part) and (len(part) >= _SHORTEST_NAME or not part.isascii())


def _dates(header: "Dataset") -> set[str]:
    """The birth date as written in DICOM, ISO 8601, and with days or months first."""
    element = header.get_item("PatientBirthDate")
    raw = element.value if element is not None else None
    text = raw.decode("ascii", "ignore") if isinstance(raw, bytes) else str(raw or "")
    match = re.match(r"(\d{4})(\d{2})(\d{2})", text.strip())
    if match is None:
        return set()
    year, month, day = match.groups()
    short_day, short_month = str(int(day)), str(int(month))
    written = {f"{year}{month}{day}", f"{year}-{month}-{day}", f"{year}/{month}/{day}"}
    for d, m in {(day, month), (short_day, short_month)}:
        for mark in "./-":
            written |= {f"{d}{mark}{m}{mark}{year}", f"{m}{mark}{d}{mark}{year}"}
    return written
