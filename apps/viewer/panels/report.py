"""The report in its sections, with what the model attended to; report text is data and is always escaped."""

from collections.abc import Sequence

import streamlit as st

from apps.viewer.panels import html
from medfuse.domain import Finding, Prediction, Report
from medfuse.review import SectionView, Span, highlighted, readable, report_views


def show(reports: Sequence[Report], prediction: Prediction | None, problem: str) -> None:
    """Draw the pane.

    Args:
        reports: The reports of the study; empty where it has none or they cannot be read.
        prediction: The model's answer, for its evidence; None without one.
        problem: Why the reports cannot be read; empty where they can.
    """
    if problem:
        html.notice("error", f"The report cannot be shown: {problem}")
    _fragment(reports, prediction)


@st.fragment
def _fragment(reports: Sequence[Report], prediction: Prediction | None) -> None:
    finding = _chosen(prediction)
    evidence = finding.evidence if finding else ()
    text_input = prediction.text_input if prediction else ""
    views = report_views(reports, text_input, evidence)
    for number, sections in enumerate(views, start=1):
        if len(views) > 1:
            html.draw([html.tag("h4", f"Report {number}", classes="mf-heading")])
        html.draw(_section(section) for section in sections)
    if text_input and not any(section.read_by_model for sections in views for section in sections):
        view = SectionView(heading="Text the model read", spans=highlighted(text_input, evidence), read_by_model=True)
        html.draw([_section(view)])
    elif not views:
        html.notice("info", "This study has no report.")


def _chosen(prediction: Prediction | None) -> Finding | None:
    """The finding whose evidence is marked: the reader's choice among those that have some."""
    if prediction is None:
        return None
    by_name = {finding.name: finding for finding in prediction.findings if finding.evidence}
    if not by_name:
        return None
    chosen = st.pills(
        "What the model attended to for",
        list(by_name),
        format_func=readable,
        default=max(by_name, key=lambda name: by_name[name].probability),
        key=f"evidence/{prediction.study_instance_uid}",
    )
    return by_name[chosen] if chosen else None


def _section(section: SectionView) -> str:
    heading = html.text(section.heading)
    if section.read_by_model:
        heading += html.tag("em", "read by the model")
    body = "".join(_span(span) for span in section.spans)
    return html.tag("h4", heading, classes="mf-heading") + html.tag("p", body, classes="mf-text")


def _span(span: Span) -> str:
    if span.weight <= 0:
        return html.text(span.text)
    strength = 0.2 + 0.6 * span.weight
    return html.tag("mark", html.text(span.text), style=f"background: rgba(222, 170, 60, {strength:.2f})")
