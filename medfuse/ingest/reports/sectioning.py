"""Clinical text into sections, in English, German, French, Spanish and Chinese.

A heading is known from `heading_languages.py` and from where it stands: at the start of a line before a colon or alone
on it, or within a line behind the end of a sentence (reports whose line breaks were lost). Headings of FINDINGS and
IMPRESSION are taken on less evidence than the others, because a missed one puts the answer into the model's text input.
A line in capitals that ends in a colon and is no known heading opens OTHER, so what follows it is not taken for
the section before. Text without any heading is OTHER as a whole.

The MIMIC-CXR section parser (MIT-LCP/mimic-cxr) was read for the headings that occur; it knows only capitals before a
colon at the start of a line, and drops what it does not name. medspaCy's sectionizer has English headings only.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from medfuse.domain import Report, ReportSection, SectionName
from medfuse.domain.report import ANSWER_SECTIONS
from medfuse.ingest.reports.heading_languages import HEADINGS, SUBHEADINGS
from medfuse.ingest.reports.phrases import fold

_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_IDEOGRAPHS = r"\u3400-\u9fff"
_JOINER = r"[ \t]{0,3}(?:[/&+,、]|\b(?:and|und|et|y|e)\b|[和与及])[ \t]{0,3}"
_LEAD = re.compile(
    r"[ \t\ufeff#*_>\[【(=•·■●◆–—-]*(?:(?:\d{1,2}|[ivx]{1,4}|[a-h]|[一二三四五六七八九十])[.)、][ \t]*)?[*_【\[]*\Z"
)
_TAIL = re.compile(r"[ \t]*(?:\([^()\n\r]{0,60}\))?[ \t*_\])>=]*(?P<mark>[:】]|[-–—](?=[ \t]))?[ \t*_:]*")
_SENTENCE_END = re.compile(r"(?:[.!?;:)\]][ \t*_]+|[ \t]{2,}|\t|[。；！？】][ \t]*)\Z")
_UNKNOWN = re.compile(
    rf"(?<![^{_BREAKS}])[ \t#*_]*(?P<title>[^\W\d_][^:\d{_BREAKS}]{{2,47}}):[ \t*_]*(?=[{_BREAKS}]|\Z)"
)
_LATER_COLON = re.compile(rf"[^:.{_BREAKS}]{{0,40}}:")
_LOOK_BACK = 80
_SHORTEST_GLUED = 4
"""Characters of a Chinese answer heading that is one even where the text follows without any mark."""


class _Heading(NamedTuple):
    """A place where a section opens: offsets of the heading's start and of the body's first character."""

    start: int
    body_start: int
    name: SectionName
    is_sub: bool


def _by_title(table: dict[str, dict[SectionName, tuple[str, ...]]]) -> dict[str, SectionName]:
    """Folded title -> section; where languages disagree, the one that states the answer holds."""
    pairs = [(fold(t), name) for language in table.values() for name, titles in language.items() for t in titles]
    return dict(sorted(pairs, key=lambda pair: pair[1] in ANSWER_SECTIONS))


_SUBTITLES = _by_title(SUBHEADINGS)
_SECTION_OF = _SUBTITLES | _by_title(HEADINGS)
_ONE = "|".join(re.escape(t).replace(r"\ ", r"[ \t]{1,3}") for t in sorted(_SECTION_OF, key=len, reverse=True))
_GLUED_TITLES = [fold(t) for name in ANSWER_SECTIONS for t in HEADINGS["zh"][name] if len(t) >= _SHORTEST_GLUED]
_GLUED = re.compile(
    rf"(?<![^{_BREAKS}])[ \t【]*(?P<title>"
    + "|".join(sorted(_GLUED_TITLES, key=len, reverse=True))
    + rf")(?=[{_IDEOGRAPHS}])"
)


@cache
def _titles(separator: str) -> re.Pattern[str]:
    """Known titles, several of them where `separator` may stand between; compiled when the first report is read."""
    more = rf"(?:{separator}(?:{_ONE})(?!\w))*" if separator else ""
    return re.compile(rf"(?<!\w)(?:{_ONE})(?!\w){more}")


def parse_report(text: str) -> Report:
    """The sections of a report, tiling its text.

    Args:
        text: The report as it stands; nothing is changed or left out.

    Returns:
        The report; text before the first heading, and under headings that nobody knows, is `OTHER`.
    """
    folded = fold(text)
    known = _known_headings(text, folded)
    found = sorted([*known, *_unknown_headings(text, folded, known)])
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
    return _SECTION_OF.get(_plain(title))


def is_subheading(title: str) -> bool:
    """Whether a heading stands inside a section and says whose history or which organ it is."""
    return _plain(title) in _SUBTITLES


def report_of(texts: Iterable[tuple[SectionName, str]]) -> Report:
    """A report put together from texts whose section is known, as records, codes and columns tell it.

    A run of one section gets one `HEADING:` line. Headings within a text count as well (many systems send a whole
    report as one item), except under an answer.

    Args:
        texts: Section and text, in the order of the report; the texts are kept as they stand.
    """
    whole = ""
    sections: list[ReportSection] = []
    for name, run in groupby(texts, key=itemgetter(0)):
        start = len(whole)
        heading = "" if name is SectionName.OTHER else f"{name}:\n"
        chunk = heading + "".join(f"{text}\n" for _, text in run)
        whole += chunk
        parts: Sequence[ReportSection] = (
            (ReportSection(name=name, start=0, end=len(chunk), body_start=len(heading)),)
            if name in ANSWER_SECTIONS
            else parse_report(chunk).sections
        )
        sections.extend(
            replace(part, start=part.start + start, end=part.end + start, body_start=part.body_start + start)
            for part in parts
        )
    return Report(text=whole, sections=tuple(sections))


def _plain(title: str) -> str:
    return " ".join(fold(title).split()).rstrip(":").rstrip()


def _continues(current: SectionName, heading: _Heading) -> bool:
    """Whether a subheading belongs to the section that is open."""
    return heading.is_sub and (heading.name is current or current is SectionName.IMPRESSION)


def _known_headings(text: str, folded: str) -> list[_Heading]:
    headings = [_heading_at(text, folded, match) for match in _titles(_JOINER).finditer(folded)]
    glued = [_Heading(m.start(), m.end(), _SECTION_OF[m["title"]], False) for m in _GLUED.finditer(folded)]
    return [*(heading for heading in headings if heading is not None), *glued]


def _unknown_headings(text: str, folded: str, known: list[_Heading]) -> list[_Heading]:
    """Lines in capitals (or in ideographs) that end in a colon and hold no known heading."""
    taken = {position for heading in known for position in range(heading.start, heading.body_start)}
    return [
        _Heading(match.start(), match.end(), SectionName.OTHER, False)
        for match in _UNKNOWN.finditer(folded)
        if _is_upper(text[match.start("title") : match.end("title")]) and taken.isdisjoint(range(*match.span()))
    ]


def _heading_at(text: str, folded: str, match: re.Match[str]) -> _Heading | None:
    """The heading that these words are where they stand, or None where they are words of a sentence."""
    titles = [" ".join(title.split()) for title in _titles("").findall(match[0])]
    names = [_SECTION_OF[title] for title in titles]
    name = next((name for name in names if name in ANSWER_SECTIONS), names[0])
    before = folded[max(0, match.start() - _LOOK_BACK) : match.start()]
    lead = _LEAD.search(before)
    start = match.start() - (len(lead[0]) if lead else 0)
    tail = _TAIL.match(folded, match.end())
    end, mark = (tail.end(), tail["mark"]) if tail else (match.end(), None)
    heading = _Heading(start, end, name, titles[0] in _SUBTITLES)
    written = text[match.start() : match.end()]
    is_colon = mark is not None and mark not in "-–—"
    if start == 0 or text[start - 1] in _BREAKS:
        return heading if is_colon or _stands_out(text, written, heading, mark) else None
    if is_colon and _opens_within_line(before, written, heading):
        return heading._replace(start=match.start())
    return None


def _stands_out(text: str, title: str, heading: _Heading, mark: str | None) -> bool:
    """Whether words at the start of a line are a heading although no colon follows at once."""
    end = heading.body_start
    if heading.is_sub or not _is_upper(title[0]):
        return False
    if end == len(text) or text[end] in _BREAKS:
        return True
    if heading.name in ANSWER_SECTIONS and (_LATER_COLON.match(fold(text[end : end + 50])) or _is_upper(title)):
        return mark is not None or text[end - 1].isspace()
    return _is_upper(title) and mark is not None


def _opens_within_line(before: str, title: str, heading: _Heading) -> bool:
    """Whether words before a colon, in the middle of a line, are a heading."""
    if heading.is_sub and heading.name in ANSWER_SECTIONS:
        return False
    follows_word = before[-1:].isspace() or before.endswith(("*", "_"))
    is_answer = heading.name in ANSWER_SECTIONS and _is_upper(title[0]) and follows_word
    return is_answer or _SENTENCE_END.search(before) is not None


def _is_upper(text: str) -> bool:
    """Whether no letter of `text` is a small one, and at least one is there: ideographs count as capitals."""
    return any(c.isalpha() for c in text) and not any(c.islower() for c in text)
