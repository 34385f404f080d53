"""Clinical text into sections: `parse_report` for text, `read_report` for a text file or a DICOM structured report.

A heading is known from `headings.py` and from where it stands: at the start of a line before a colon or alone on it, or
within a line behind the end of a sentence (reports whose line breaks were lost). Headings of FINDINGS and IMPRESSION
are taken on less evidence than the others, because a missed one puts the answer into the model's text input.
A line in capitals that ends in a colon and is no known heading opens OTHER, so what follows it is not taken for
the section before. Text without any heading is OTHER as a whole.

The MIMIC-CXR section parser (MIT-LCP/mimic-cxr) was read for the headings that occur; it knows only capitals before a
colon at the start of a line, and drops what it does not name.
"""

import codecs
import re
from pathlib import Path
from typing import NamedTuple

from medfuse.domain import Report, ReportSection, SectionName
from medfuse.domain.report import ANSWER_SECTIONS
from medfuse.errors import UnreadableReportError
from medfuse.ingest.dicom.files import may_be_dicom
from medfuse.ingest.headings import HEADINGS, SUBHEADINGS

MAX_REPORT_BYTES = 1 << 20
"""Largest report file that is read; a long report has some 20 kB."""

_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_JOINER = r"[ \t]{0,3}(?:[/&+,]|\band\b)[ \t]{0,3}"
_LEAD = re.compile(r"[ \t\ufeff#*_>\[(=•–—-]*(?:\d{1,2}[.)][ \t]*)?[*_]*\Z")
_TAIL = re.compile(r"[ \t]*(?:\([^()\n\r]{0,60}\))?[ \t*_\])>=]*(?P<mark>[:\uff1a]|[-–—](?=[ \t]))?[ \t*_]*")
_SENTENCE_END = re.compile(r"(?:[.!?;:)\]][ \t*_]+|[ \t]{2,}|\t)\Z")
_UNKNOWN = re.compile(
    rf"(?<![^{_BREAKS}])[ \t#*_]*(?P<title>[^\W\d_][^:\d{_BREAKS}]{{2,47}}):[ \t*_]*(?=[{_BREAKS}]|\Z)"
)
_LATER_COLON = re.compile(rf"[^:.{_BREAKS}]{{0,40}}:")
_LOOK_BACK = 80
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x7f]")


class _Heading(NamedTuple):
    """A place where a section opens: offsets of the heading's start and of the body's first character."""

    start: int
    body_start: int
    name: SectionName
    is_sub: bool


def _by_title(table: dict[str, dict[SectionName, tuple[str, ...]]]) -> dict[str, SectionName]:
    return {title: name for language in table.values() for name, titles in language.items() for title in titles}


_SECTION_OF = _by_title(HEADINGS) | _by_title(SUBHEADINGS)
_SUBTITLES = frozenset(_by_title(SUBHEADINGS))
_ONE = "|".join(re.escape(t).replace(r"\ ", r"[ \t\xa0]{1,3}") for t in sorted(_SECTION_OF, key=len, reverse=True))
_TITLE = re.compile(rf"(?<!\w)(?:{_ONE})(?!\w)", re.IGNORECASE)
_TITLES = re.compile(rf"(?<!\w)(?:{_ONE})(?!\w)(?:{_JOINER}(?:{_ONE})(?!\w))*", re.IGNORECASE)


def parse_report(text: str) -> Report:
    """The sections of a report, tiling its text.

    Args:
        text: The report as it stands; nothing is changed or left out.

    Returns:
        The report; text before the first heading, and under headings that nobody knows, is `OTHER`.
    """
    known = _known_headings(text)
    found = sorted([*known, *_unknown_headings(text, known)])
    opened: list[_Heading] = []
    for heading in found:
        if opened and (heading.start < opened[-1].body_start or _continues(opened[-1].name, heading)):
            continue
        opened.append(heading)
    if text and (not opened or text[: opened[0].start].strip()):
        opened.insert(0, _Heading(0, 0, SectionName.OTHER, False))
    starts = [0, *(heading.start for heading in opened[1:])]
    ends = [*starts[1:], len(text)]
    return Report(
        text=text,
        sections=tuple(
            ReportSection(name=h.name, start=start, end=end, body_start=start if h.is_sub else h.body_start)
            for h, start, end in zip(opened, starts, ends, strict=False)
        ),
    )


def section_of(title: str) -> SectionName | None:
    """The section that a heading of any language opens, or None for an unknown one."""
    return _SECTION_OF.get(" ".join(title.upper().split()).rstrip(":"))


def read_report(path: Path) -> Report:
    """Read a report from a text file, or from a DICOM structured report.

    Text is UTF-8 with or without a byte order mark, UTF-16 with one, and else Windows-1252, which holds every printable
    character of Latin-1. A byte that Windows-1252 does not have means another code page: that is refused, not guessed.

    Args:
        path: The file. Whether it is DICOM is told by its first bytes, whatever its name.

    Raises:
        UnreadableReportError: The file cannot be read (`UNREADABLE_REPORT`), is larger than `MAX_REPORT_BYTES`
            (`REPORT_TOO_LARGE`), is not text (`NOT_TEXT`), is in another code page (`UNKNOWN_ENCODING`), holds no text
            (`EMPTY_REPORT`), or is DICOM but no report (`NOT_A_REPORT`).
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_REPORT_BYTES + 1)
    except OSError as error:
        raise UnreadableReportError(f"{path.name}: {error.strerror or 'cannot be read'}") from error
    if len(data) > MAX_REPORT_BYTES:
        raise UnreadableReportError(
            f"{path.name}: larger than {MAX_REPORT_BYTES} bytes, which no report is", reason="REPORT_TOO_LARGE"
        )
    if may_be_dicom(data[:132]):
        from medfuse.ingest.structured_reports import read_structured_report

        return read_structured_report(path)
    text = _decode(data, path)
    if not text.strip():
        raise UnreadableReportError(f"{path.name}: the report is empty", reason="EMPTY_REPORT")
    return parse_report(text)


def _decode(data: bytes, path: Path) -> str:
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if is_utf16 else ("utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text or len(_CONTROL.findall(text)) > len(text) // 50:
            raise UnreadableReportError(f"{path.name}: binary data, expected text; save it as UTF-8", reason="NOT_TEXT")
        return text
    raise UnreadableReportError(
        f"{path.name}: neither UTF-8, UTF-16 with a byte order mark nor Windows-1252; save it as UTF-8",
        reason="NOT_TEXT" if b"\0" in data else "UNKNOWN_ENCODING",
    )


def _continues(current: SectionName, heading: _Heading) -> bool:
    """Whether a subheading belongs to the section that is open."""
    return heading.is_sub and (heading.name is current or current is SectionName.IMPRESSION)


def _known_headings(text: str) -> list[_Heading]:
    headings = (_heading_at(text, match) for match in _TITLES.finditer(text))
    return [heading for heading in headings if heading is not None]


def _unknown_headings(text: str, known: list[_Heading]) -> list[_Heading]:
    """Lines in capitals that end in a colon and hold no known heading."""
    taken = {position for heading in known for position in range(heading.start, heading.body_start)}
    return [
        _Heading(match.start(), match.end(), SectionName.OTHER, False)
        for match in _UNKNOWN.finditer(text)
        if match["title"].isupper() and taken.isdisjoint(range(*match.span()))
    ]


def _heading_at(text: str, match: re.Match[str]) -> _Heading | None:
    """The heading that these words are where they stand, or None where they are words of a sentence."""
    titles = [" ".join(title.upper().split()) for title in _TITLE.findall(match[0])]
    names = [_SECTION_OF[title] for title in titles]
    name = next((name for name in names if name in ANSWER_SECTIONS), names[0])
    before = text[max(0, match.start() - _LOOK_BACK) : match.start()]
    lead = _LEAD.search(before)
    start = match.start() - (len(lead[0]) if lead else 0)
    tail = _TAIL.match(text, match.end())
    end, mark = (tail.end(), tail["mark"]) if tail else (match.end(), None)
    heading = _Heading(start, end, name, titles[0] in _SUBTITLES)
    is_colon = mark is not None and mark not in "-–—"
    if start == 0 or text[start - 1] in _BREAKS:
        return heading if is_colon or _stands_out(text, match, heading, mark) else None
    if is_colon and _opens_within_line(before, match[0], heading):
        return heading._replace(start=match.start())
    return None


def _stands_out(text: str, match: re.Match[str], heading: _Heading, mark: str | None) -> bool:
    """Whether words at the start of a line are a heading although no colon follows at once."""
    title, end = match[0], heading.body_start
    if heading.is_sub or not title[0].isupper():
        return False
    if end == len(text) or text[end] in _BREAKS:
        return True
    if heading.name in ANSWER_SECTIONS and (_LATER_COLON.match(text, end) or title.isupper()):
        return mark is not None or text[end - 1].isspace()
    return title.isupper() and mark is not None


def _opens_within_line(before: str, title: str, heading: _Heading) -> bool:
    """Whether words before a colon, in the middle of a line, are a heading."""
    if heading.is_sub and heading.name in ANSWER_SECTIONS:
        return False
    follows_word = before[-1:].isspace() or before.endswith(("*", "_"))
    is_answer = heading.name in ANSWER_SECTIONS and title[0].isupper() and follows_word
    return is_answer or _SENTENCE_END.search(before) is not None
