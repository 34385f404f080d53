"""A report as it is marked: what the model attended to, and where findings are mentioned and negated.

Marks are offsets into the text of a section and never markup: whoever draws them escapes the text. Marks may overlap.
Each says which finding it is about, and which segment that finding has, so that a hovered finding lights up its words
and its region together.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from medfuse.domain import LabelValue, Prediction, Report
from medfuse.ingest.reports.assertion import Assertion, Experiencer
from medfuse.ingest.reports.lexicon import Lexicon
from medfuse.ingest.reports.mention import mentions
from medfuse.review.views import placed_sections


class MarkKind(StrEnum):
    """What a mark shows: words that the model attended to, or words that name a finding."""

    EVIDENCE = "evidence"
    MENTION = "mention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A stretch of a section's text.

    Args:
        start: Offset of its first character in `SectionMarks.text`.
        end: Offset behind its last one.
        kind: What it shows.
        finding: Which finding it is about.
        weight: How much the model attended to it, 0 to 1; 0 for a mention.
        value: What a mention says of the finding; None for evidence.
        note: How it says so, for a person: `negated`, `uncertain`, `historical`, `asked for`, `of a relative`, joined
            by commas; empty for a plain mention and for evidence.
        segment: Number of the segment that shows the finding; None without one.
    """

    start: int
    end: int
    kind: MarkKind
    finding: str
    weight: float = 0.0
    value: LabelValue | None = None
    note: str = ""
    segment: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionMarks:
    """One section of a report with its marks.

    Args:
        heading: Its name, e.g. `INDICATION`.
        text: Its body, as it stands in the report.
        read_by_model: Whether it was part of the model's input.
        marks: By place.
    """

    heading: str
    text: str
    read_by_model: bool
    marks: tuple[Mark, ...]


def report_marks(
    reports: Sequence[Report],
    prediction: Prediction | None = None,
    *,
    lexicon: Lexicon | None = None,
    finding: str | None = None,
    segments: Sequence[str] = (),
) -> tuple[tuple[SectionMarks, ...], ...]:
    """Mark the reports of a study.

    Args:
        reports: In the order of the study, which is that of the model's input.
        prediction: The model's answer, for its evidence; None for mentions alone.
        lexicon: What findings are called; None for evidence alone.
        finding: Only marks of this finding; None for all.
        segments: Names of the segments, in the order of the label map.

    Returns:
        One tuple of sections a report.
    """
    names = [one.name for one in prediction.findings] if prediction else []
    shown_in = finding_segments([*names, *(lexicon.findings if lexicon else ())], segments)
    text_input = prediction.text_input if prediction else ""
    marked = []
    for report, places in zip(reports, placed_sections(reports, text_input), strict=True):
        named = _mentions(report, lexicon, finding, shown_in)
        sections = []
        for section, found in zip(report.sections, places, strict=True):
            body = report.body(section)
            start = report.text.index(body, section.body_start) if body else section.body_start
            marks = [_moved(mark, -start) for mark in named if start <= mark.start and mark.end <= start + len(body)]
            if found is not None and prediction is not None:
                marks += _evidence(prediction, finding, shown_in, found, len(body))
            sections.append(
                SectionMarks(
                    heading=section.name.value,
                    text=body,
                    read_by_model=found is not None,
                    marks=tuple(sorted(marks, key=lambda mark: (mark.start, mark.end, mark.kind, mark.finding))),
                )
            )
        marked.append(tuple(sections))
    return tuple(marked)


def finding_segments(findings: Iterable[str], segments: Sequence[str]) -> Mapping[str, int]:
    """The number of the segment that shows a finding, of those that have one: all words of one name are in the other's.

    `lung_nodule` is shown by `nodule`; where several segments fit, none is told.
    """
    words = [_words(segment) for segment in segments]
    found: dict[str, int] = {}
    for finding in findings:
        own = _words(finding)
        fit = [n for n, other in enumerate(words, start=1) if own and other and (own <= other or other <= own)]
        exact = [n for n in fit if words[n - 1] == own]
        if len(exact or fit) == 1:
            found[finding] = (exact or fit)[0]
    return found


def _mentions(report: Report, lexicon: Lexicon | None, finding: str | None, shown_in: Mapping[str, int]) -> list[Mark]:
    """The mentions of a report, as offsets into its text."""
    return [
        Mark(
            start=mention.start,
            end=mention.end,
            kind=MarkKind.MENTION,
            finding=mention.finding,
            value=mention.assertion.value,
            note=_note(mention.assertion),
            segment=shown_in.get(mention.finding),
        )
        for mention in (mentions(report, lexicon) if lexicon else ())
        if finding in (None, mention.finding)
    ]


def _evidence(
    prediction: Prediction, finding: str | None, shown_in: Mapping[str, int], found: int, length: int
) -> list[Mark]:
    """The evidence that lies in a body of `length` characters which begins at `found` in the model's input."""
    return [
        Mark(
            start=max(item.start - found, 0),
            end=min(item.end - found, length),
            kind=MarkKind.EVIDENCE,
            finding=one.name,
            weight=min(max(item.weight, 0.0), 1.0),
            segment=shown_in.get(one.name),
        )
        for one in prediction.findings
        if finding in (None, one.name)
        for item in one.evidence
        if item.start < found + length and item.end > found
    ]


def _moved(mark: Mark, by: int) -> Mark:
    return Mark(
        start=mark.start + by,
        end=mark.end + by,
        kind=mark.kind,
        finding=mark.finding,
        value=mark.value,
        note=mark.note,
        segment=mark.segment,
    )


def _note(said: Assertion) -> str:
    notes = (
        ("negated", said.value is LabelValue.ABSENT),
        ("uncertain", said.value is LabelValue.UNCERTAIN),
        ("historical", said.is_historical),
        ("asked for", said.is_hypothetical),
        ("of a relative", said.experiencer is Experiencer.OTHER),
    )
    return ", ".join(word for word, holds in notes if holds)


def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W_]+", name.casefold()))
