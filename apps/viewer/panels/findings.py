"""What the model says: each finding with its probability, what it rests on, and the reader's decision on it."""

import streamlit as st

from apps.viewer.panels import decision, html
from apps.viewer.state import Session
from medfuse.domain import Finding, ModelIdentity, Prediction, Review
from medfuse.review import SegmentView, basis_of, call_of, readable, segment_views

_CALL_CLASS = {"present": "mf-present", "absent": "mf-absent"}
_HASH_LENGTH = 8


@st.fragment
def show(session: Session, prediction: Prediction) -> None:
    """Draw the pane; it runs again on its own when a decision is taken."""
    history = session.history(prediction.study_instance_uid)
    standing = {review.subject: review for review in history}
    with st.container(key="findings", border=True):
        _model(prediction)
        for finding in prediction.findings:
            html.draw([_finding(finding)])
            _decide(session, prediction, finding.name, readable(finding.name), standing)
        for segment, view in zip(prediction.segment_volumes, segment_views(prediction), strict=True):
            html.draw([_segment(view)])
            _decide(session, prediction, segment.name, f"outline of {view.name}", standing)
    with st.container(key="whole", border=True):
        title = html.tag("span", "Whole study", classes="mf-name")
        html.draw([html.tag("div", title, classes="mf-finding")])
        _decide(session, prediction, None, "whole study", standing)
        decision.history(history)


def _decide(
    session: Session, prediction: Prediction, subject: str | None, words: str, standing: dict[str | None, Review]
) -> None:
    decision.show(
        session,
        prediction.study_instance_uid,
        subject,
        words,
        standing.get(subject),
        weights_sha256=prediction.model.weights_sha256,
    )


def _model(prediction: Prediction) -> None:
    model: ModelIdentity = prediction.model
    scored = prediction.created_at[:16].replace("T", " ")
    line = f"{model.name} {model.version} · weights {model.weights_sha256[:_HASH_LENGTH]} · scored {scored}"
    html.draw([html.tag("div", html.text(line), classes="mf-model")])
    if model.leakage_allowed:
        html.notice(
            "warning",
            "This model was trained on report sections that state the answer. Its probabilities may repeat the report "
            "and say nothing about how well it reads images.",
        )
    if prediction.missing:
        missing = ", ".join("report text" if name == "text" else readable(name) for name in prediction.missing)
        html.notice("info", f"The model had to do without: {missing}.")


def _finding(finding: Finding) -> str:
    call = call_of(finding)
    call_class = _CALL_CLASS.get(call, "")
    fill = html.tag("div", "", classes="mf-fill", style=f"width: {100 * finding.probability:.1f}%")
    tick = ""
    if finding.operating_point is not None:
        tick = html.tag("div", "", classes="mf-tick", style=f"left: {100 * finding.operating_point:.1f}%")
    words = html.tag("span", html.text(readable(finding.name)), classes="mf-name")
    words += html.tag("small", html.text(basis_of(finding)))
    words += html.tag("span", html.text(call), classes=f"mf-call {call_class}")
    words += html.tag("b", f"{finding.probability:.2f}", classes="mf-value")
    return html.tag("div", words + html.tag("div", fill + tick, classes=f"mf-track {call_class}"), classes="mf-finding")


def _segment(view: SegmentView) -> str:
    swatch = html.tag("i", "", classes="mf-swatch", style=f"background: rgb{view.colour}")
    words = html.tag("span", swatch + html.text(f"outline of {view.name}"), classes="mf-name")
    words += html.tag("b", f"{view.volume_mm3:,.0f} mm³", classes="mf-value")
    return html.tag("div", words, classes="mf-finding")
