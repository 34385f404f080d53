"""Reports in HL7 version 2: the observations (OBX) of an ORU^R01 message as text in sections.

Source: HL7 version 2.9, chapters 2.5 (delimiters), 2.7 (escape sequences), 2.14.9.18 (MSH-18, the character set) and
7.4.2 (OBX).

`hl7` 0.4.5 and `hl7apy` 1.3.5 were looked at. `hl7` drops escape sequences that it does not know, and writes the field
that held one, a patient's text, into the log; `hl7apy` brings the structure of every version to build and to validate
messages. What a report takes of HL7 is little: fields by position, escapes, and patience.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

from medfuse.domain import Report, SectionName
from medfuse.errors import UnreadableReportError
from medfuse.ingest.reports.codes import section_of_code
from medfuse.ingest.reports.decoding import decode
from medfuse.ingest.reports.sectioning import is_subheading, report_of

_START = re.compile(rb"\s*(?:\xef\xbb\xbf)?[\x0b\s]*(?:MSH|FHS|BHS)[^\w\s]")
_HEADERS = frozenset({"MSH", "FHS", "BHS"})
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_WITHDRAWN = frozenset("DWX")
"""Observation result status (HL7 table 0085): deleted, wrong, cannot be obtained."""

_TEXT_TYPES = frozenset({"TX", "FT", "ST", "CF", ""})
_CHARACTER_SETS = {
    "ASCII": "utf-8",
    "8859/1": "cp1252",
    **{f"8859/{n}": f"iso8859_{n}" for n in range(2, 16) if n != 12},
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "UNICODE UTF-16": "utf-16",
    "GB 18030-2000": "gb18030",
    "GB18030": "gb18030",
    "KS X 1001": "euc_kr",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "BIG-5": "big5",
}
"""HL7 table 0211 -> Python's codec; Windows-1252 holds all that Latin-1 prints."""


class _Marks(NamedTuple):
    """The delimiters of one message (MSH-1 and MSH-2)."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    sub: str = "&"


class _Segment(NamedTuple):
    """A segment's fields; `fields[0]` is its name, so that OBX-5 is `fields[5]`. MSH-1 counts as a field."""

    fields: list[str]
    marks: _Marks

    def get(self, number: int) -> str:
        """A field as it stands, or an empty string."""
        return self.fields[number] if number < len(self.fields) else ""


def is_hl7(head: bytes) -> bool:
    """Whether a file that begins with `head` is HL7 version 2."""
    return _START.match(head) is not None


def read_hl7(data: bytes, name: str, encoding: str | None = None) -> tuple[tuple[str, Report], ...]:
    """The reports of a file of HL7 messages, one a message.

    Args:
        data: The file; a batch or a single message, with or without the frame of MLLP.
        name: What to call the file in a message.
        encoding: The character set where MSH-18 is not to be trusted.

    Returns:
        Key and report of each message that holds text; the key is the filler's order number (OBR-3), else the
        placer's (OBR-2), else the message's control ID (MSH-10).

    Raises:
        UnreadableReportError: No message holds text (`EMPTY_REPORT`), or the text cannot be decoded.
    """
    text = decode(data, name, encoding or _stated_encoding(data))
    reports = []
    for message in _messages(text):
        texts = list(_texts(message))
        if texts:
            reports.append((_key(message), report_of(texts)))
    if not reports:
        raise UnreadableReportError(f"{name}: the HL7 message holds no text", reason="EMPTY_REPORT")
    return tuple(reports)


def _stated_encoding(data: bytes) -> str | None:
    """The codec that MSH-18 names, where UTF-8 does not fit; None for a set that nobody knows."""
    at = data.find(b"MSH")
    header = re.split(rb"[\r\n]", data[at : at + 2000], maxsplit=1)[0] if at >= 0 else b""
    fields = header.split(header[3:4]) if len(header) > 3 else []
    stated = fields[17].decode("ascii", "replace") if len(fields) > 17 else ""
    first = stated.split("~")[0].strip().upper()
    codec = _CHARACTER_SETS.get(first)
    if codec == "utf-8" and "UTF" not in first:  # nothing but ASCII was promised: look at what came
        return None
    return codec


def _messages(text: str) -> Iterator[list[_Segment]]:
    """The messages of a file, each the segments from an MSH on."""
    segments: list[_Segment] = []
    marks = _Marks()
    for line in _joined_lines(text):
        if line[:3] in _HEADERS:
            if segments:
                yield segments
            marks = _marks(line)
            segments = []
        fields = line.split(marks.field)
        segments.append(_Segment([fields[0], marks.field, *fields[1:]] if fields[0] in _HEADERS else fields, marks))
    if segments:
        yield segments


def _joined_lines(text: str) -> Iterator[str]:
    """Segments as lines. A line that begins no segment belongs to the one before: a line break within its text."""
    held: list[str] = []
    mark = "|"
    for raw in re.split(r"\r\n|[\r\n\x1c]", text):
        line = raw.lstrip("\x0b\ufeff")
        if line[:3] in _HEADERS and line[3:4] and not line[3].isalnum():
            mark = line[3]
        if _NAME.match(line) and line[3:4] == mark:
            if held:
                yield "\n".join(held)
            held = [line]
        elif held:
            held.append(line)
    if held:
        yield "\n".join(held)


def _marks(header: str) -> _Marks:
    given = header[3:8]
    defaults = _Marks()
    return _Marks(*(given[n] if n < len(given) and not given[n].isalnum() else defaults[n] for n in range(5)))


def _key(message: list[_Segment]) -> str:
    for segment, number in (("OBR", 3), ("OBR", 2), ("MSH", 10)):
        for found in message:
            if found.get(0) == segment and found.get(number):
                return _unescape(found.get(number).split(found.marks.component)[0], found.marks).strip()
    return ""


def _texts(message: list[_Segment]) -> Iterator[tuple[SectionName, str]]:
    """Section and text of the observations and comments; neighbours of one kind are lines of one text."""
    held: list[str] = []
    held_kind: tuple[SectionName, str] = (SectionName.OTHER, "")
    for segment in message:
        kind = segment.get(0)
        if kind == "OBX" and segment.get(11).strip().upper() not in _WITHDRAWN:
            section, title = _section(segment)
            text = _observation(segment)
            if held and (section, title) != held_kind:
                yield held_kind[0], "\n".join(held)
                held = []
            if not held and is_subheading(title) and text:
                text = f"{title}: {text}"
            held_kind = (section, title)
            held.append(text)
        elif kind == "NTE" and segment.get(3):
            held.append(_lines(segment.get(3), segment.marks))
    if any(line.strip() for line in held):
        yield held_kind[0], "\n".join(held)


def _section(segment: _Segment) -> tuple[SectionName, str]:
    """The section that OBX-3 names: by its code, its words, or the suffix that HL7 gives it (`&GDT`, `&IMP`)."""
    identifier = segment.get(3)
    parts = [_unescape(part, segment.marks).strip() for part in identifier.split(segment.marks.component)]
    codes = [piece.strip() for part in parts for piece in (part, *part.split(segment.marks.sub))]
    title = next((part for part in (parts[1:2] or parts[:1]) if part), "")
    for code in codes:
        if (section := section_of_code(code)) is not None:
            return section, title
    return SectionName.OTHER, title


def _observation(segment: _Segment) -> str:
    kind, value, marks = segment.get(2).strip().upper(), segment.get(5), segment.marks
    if kind in _TEXT_TYPES:
        return _lines(value, marks)
    if kind == "ED":
        return "\n".join(_encapsulated(one, marks) for one in value.split(marks.repetition))
    if kind in {"RP", "AD", "XPN", "XCN", "PN", "DT", "TM", "TS", "DTM"}:
        return ""
    shown = [_coded(one, marks, kind) for one in value.split(marks.repetition)]
    title = _section(segment)[1]
    units = _unescape(segment.get(6).split(marks.component)[0], marks)
    text = f"{', '.join(shown)} {units}".strip()
    return f"{title}: {text}" if title and text else text


def _coded(value: str, marks: _Marks, kind: str) -> str:
    """A coded or numeric value in words."""
    parts = [_unescape(part, marks).strip() for part in value.split(marks.component)]
    if kind in {"CE", "CWE", "CNE"}:
        return next((part for part in (*parts[1:2], *parts[8:9], *parts[:1]) if part), "")
    return " ".join(part for part in parts if part)


def _lines(value: str, marks: _Marks) -> str:
    """A text field: repetitions are lines, as senders use them."""
    return "\n".join(_unescape(one, marks) for one in value.split(marks.repetition))


def _encapsulated(value: str, marks: _Marks) -> str:
    """The text of an ED value (source ^ type ^ subtype ^ encoding ^ data); other documents than text are left out."""
    parts = value.split(marks.component, 4)
    if len(parts) < 5:
        return _unescape(value, marks)
    kind, subtype, encoding, data = parts[1].upper(), parts[2].upper(), parts[3].upper(), parts[4]
    if (kind not in {"TEXT", "TX", "FT", ""} and "TEXT" not in kind) or subtype in {"PDF", "RTF"}:
        return ""
    if encoding == "BASE64":
        try:
            return decode(base64.b64decode("".join(data.split()), validate=True), "OBX-5")
        except (binascii.Error, ValueError):
            return ""
    if encoding == "HEX":
        try:
            return decode(bytes.fromhex(data), "OBX-5")
        except ValueError:
            return ""
    return _unescape(data, marks)


def _unescape(text: str, marks: _Marks) -> str:
    r"""Text without escape sequences; a sequence that nobody knows stays as it is.

    `\F\ \S\ \T\ \R\ \E\` are the delimiters, `\.br\` and the other commands of formatted text break a line or do
    nothing, `\H\` and `\N\` highlight, `\X0D0A\` is bytes.
    """
    if marks.escape not in text:
        return text
    mark = re.escape(marks.escape)
    return re.sub(rf"{mark}([^{mark}\n]{{1,60}}){mark}", lambda match: _sequence(match, marks), text)


def _sequence(match: re.Match[str], marks: _Marks) -> str:
    inside = match[1]
    plain = {
        "F": marks.field,
        "S": marks.component,
        "T": marks.sub,
        "R": marks.repetition,
        "E": marks.escape,
        "H": "",
        "N": "",
    }
    if inside in plain:
        return plain[inside]
    command = re.fullmatch(r"\.(br|sp|ce|in|ti|sk|fi|nf)[ ]?([+-]?\d{0,3})", inside, re.IGNORECASE)
    if command:
        name, count = command[1].lower(), min(abs(int(command[2] or 1)), 20)
        return {"br": "\n", "ce": "\n", "sp": "\n" * count, "sk": " " * count}.get(name, "")
    if re.fullmatch(r"X(?:[0-9A-Fa-f]{2})+", inside):
        return _bytes_as_text(bytes.fromhex(inside[1:]))
    return match[0]


def _bytes_as_text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
