"""The report in its sections: what the model attended to, what is mentioned and negated; report text is always escaped.

Words carry the name of their finding, and the viewer's frame (`slices/page.js`) lights up words, finding and region
together. Nothing of that needs a run of the page.
"""

from collections.abc import Sequence
from itertools import pairwise

import streamlit as st

from apps.viewer.panels import html
from medfuse.domain import Prediction, Report
from medfuse.ingest.reports.lexicon import Lexicon
from medfuse.review import Mark, MarkKind, SectionMarks, Span, highlighted, readable, report_marks

_ALL = "all findings"


def show(
    reports: Sequence[Report],
    prediction: Prediction | None,
    lexicon: Lexicon | None,
    segments: Sequence[str],
    *,
    handle: str,
    problem: str,
) -> None:
    """Draw the pane.

    Args:
        reports: The reports of the study; empty where it has none or they cannot be read.
        prediction: The model's answer, for its evidence; None without one.
        lexicon: What findings are called in reports; None where that is not known.
        segments: Names of the segments, in the order of the label map.
        handle: Of the case.
        problem: Why the reports cannot be read; empty where they can.
    """
    if problem:
        html.notice("error", f"The report cannot be shown: {problem}")
    _fragment(reports, prediction, lexicon, segments, handle)


@st.fragment
def _fragment(
    reports: Sequence[Report],
    prediction: Prediction | None,
    lexicon: Lexicon | None,
    segments: Sequence[str],
    handle: str,
) -> None:
    finding = _chosen(prediction, handle)
    marked = report_marks(reports, prediction, lexicon=lexicon, finding=finding, segments=segments)
    for number, sections in enumerate(marked, start=1):
        if len(marked) > 1:
            html.draw([html.tag("h4", f"Report {number}", classes="mf-heading")])
        html.draw(_section(section) for section in sections)
    if prediction and prediction.text_input and not any(s.read_by_model for sections in marked for s in sections):
        html.draw([_text_input(prediction, finding)])
    elif not marked:
        html.notice("info", "This study has no report.")


def _chosen(prediction: Prediction | None, handle: str) -> str | None:
    """The finding whose words are marked; None for all of them."""
    names = [finding.name for finding in prediction.findings if finding.evidence] if prediction else []
    if not names:
        return None
    chosen = st.pills(
        "Words of",
        [_ALL, *names],
        format_func=readable,
        default=_ALL,
        key=f"words/{handle}",
        label_visibility="collapsed",
    )
    return None if chosen in (None, _ALL) else str(chosen)


def _text_input(prediction: Prediction, finding: str | None) -> str:
    """What the model read, where it is in none of the study's reports."""
    evidence = [e for one in prediction.findings if finding in (None, one.name) for e in one.evidence]
    spans = "".join(_weighed(span) for span in highlighted(prediction.text_input, evidence))
    return html.tag("h4", "Text the model read", classes="mf-heading") + html.tag("p", spans, classes="mf-text")


def _section(section: SectionMarks) -> str:
    heading = html.text(section.heading)
    if section.read_by_model:
        heading += html.tag("em", "read by the model", classes="mf-ai")
    body = "".join(_stretches(section))
    return html.tag("h4", heading, classes="mf-heading") + html.tag("p", body, classes="mf-text")


def _stretches(section: SectionMarks) -> list[str]:
    """The text cut where marks begin and end; together the whole text, in order."""
    size = len(section.text)
    cuts = sorted({0, size, *(min(max(place, 0), size) for mark in section.marks for place in (mark.start, mark.end))})
    stretches = []
    for start, end in pairwise(cuts):
        over = [mark for mark in section.marks if mark.start < end and mark.end > start]
        stretches.append(_stretch(section.text[start:end], end, over))
    return stretches


def _stretch(text: str, end: int, marks: Sequence[Mark]) -> str:
    """One stretch under all its marks; the note of a mention stands behind its last stretch."""
    inside = html.text(text)
    evidence = [mark for mark in marks if mark.kind is MarkKind.EVIDENCE]
    if evidence:
        heaviest = max(evidence, key=lambda mark: mark.weight)
        inside = _evidence(inside, heaviest.weight, heaviest.finding)
    for mark in marks:
        if mark.kind is MarkKind.MENTION:
            return _mention(inside, mark, is_end=mark.end <= end)
    return inside


def _weighed(span: Span) -> str:
    return _evidence(html.text(span.text), span.weight, "") if span.weight > 0 else html.text(span.text)


def _evidence(inside: str, weight: float, finding: str) -> str:
    strength = f"--mf-weight: {0.2 + 0.6 * min(weight, 1.0):.2f}"
    attributes = {"data-finding": finding, "title": f"the model attended to this ({weight:.2f})"}
    return html.tag("mark", inside, classes="mf-evidence mf-ai", style=strength, attributes=attributes)


def _mention(inside: str, mark: Mark, *, is_end: bool) -> str:
    note = html.tag("sup", html.text(_short(mark.note)), classes="mf-note") if mark.note and is_end else ""
    kind = "mf-negated" if "negated" in mark.note else "mf-named"
    title = readable(mark.finding) + (f", {mark.note}" if mark.note else "")
    attributes = {"data-finding": mark.finding, "title": title, "tabindex": "0"}
    return html.tag("span", inside + note, classes=f"mf-mention {kind}", attributes=attributes)


def _short(note: str) -> str:
    """A note as a mark behind the words: a negation is the sign readers know."""
    return note.replace("negated", "¬ no").replace("uncertain", "?")
