"""What the model says: each finding with its probability, what it rests on, and the reader's decision on it."""

from collections.abc import Sequence

import streamlit as st

from apps.viewer import state
from apps.viewer.panels import decision, html, wording
from apps.viewer.state import Session
from medfuse.domain import Finding, ModelIdentity, Prediction, Subject, SubjectKind, TargetPrediction
from medfuse.errors import MedfuseError
from medfuse.review import Case, SegmentView, finding_segments, readable, segment_views

_CALL_CLASS = {"present": "mf-present", "absent": "mf-absent"}
_HASH_LENGTH = 8
_WIDEST_PUSH = 3.0  # log-odds that fill the bar of a contribution


@st.fragment
def show(session: Session, handle: str) -> None:
    """Draw the pane; it runs again on its own when a decision is taken."""
    if state.takes_whole_page():
        st.rerun()
    try:
        case = session.desk.case(handle)
    except MedfuseError as error:
        html.notice("error", f"The decisions cannot be read: {error}")
        return
    with st.container(key="findings", border=True):
        if case.prediction:
            _model(case.prediction)
        elif case.is_blind:
            html.notice("info", "You read first: the model's answer is hidden until you reveal it.")
        elif case.problem or case.row.reason:
            html.notice("error" if case.problem else "warning", case.problem or wording.no_result(case.row.reason))
        _subjects(session, case)
    with st.container(key="whole", border=True):
        decision.whole(session, case)


def _subjects(session: Session, case: Case) -> None:
    told = {finding.name: finding for finding in case.prediction.findings} if case.prediction else {}
    names = list(dict.fromkeys([*told, *session.room.findings]))
    places = finding_segments(names, session.room.segments)
    for name in names:
        finding = told.get(name)
        html.draw([_finding(finding, has_place=name in places) if finding else _bare(name, has_place=name in places)])
        decision.on_finding(session, case, Subject(kind=SubjectKind.FINDING, name=name), finding)
    for target in case.prediction.targets if case.prediction else ():
        html.draw([_target(target)])
        decision.on_target(session, case, Subject(kind=SubjectKind.TARGET, name=target.name), target)
    if case.prediction:
        for volume, view in zip(case.prediction.segment_volumes, segment_views(case.prediction), strict=True):
            html.draw([_segment(view)])
            decision.on_segment(session, case, Subject(kind=SubjectKind.SEGMENT, name=volume.name))
    if not (names or case.prediction):
        html.notice("info", "No findings are asked for here. Draw in the images, comment, and sign off.")


def _model(prediction: Prediction) -> None:
    model: ModelIdentity = prediction.model
    scored = prediction.created_at[:16].replace("T", " ")
    line = f"AI, unverified · {model.name} {model.version} · weights {model.weights_sha256[:_HASH_LENGTH]} · {scored}"
    html.draw([html.tag("div", html.text(line), classes="mf-model")])
    if model.leakage_allowed:
        html.notice(
            "warning",
            "This model was trained on report sections that state the answer. Its probabilities may repeat the report "
            "and say nothing about how well it reads images.",
        )
    for kind, line in wording.cautions(prediction):
        html.notice(kind, line)


def _name(name: str, *, has_place: bool) -> str:
    words = html.text(readable(name))
    if not has_place:
        return html.tag("span", words, classes="mf-name")
    told = {"data-jump": name, "type": "button", "title": "Go to its place in the images (F)"}
    return html.tag("button", words, classes="mf-name mf-jump", attributes=told)


def _bare(name: str, *, has_place: bool) -> str:
    return html.tag("div", _name(name, has_place=has_place), classes="mf-finding", attributes={"data-finding": name})


def _finding(finding: Finding, *, has_place: bool) -> str:
    call = wording.call(finding)
    call_class = _CALL_CLASS.get(call, "mf-unsure")
    fill = html.tag("div", "", classes="mf-fill", style=f"width: {100 * finding.probability:.1f}%")
    tick = ""
    if finding.operating_point is not None:
        tick = html.tag("div", "", classes="mf-tick", style=f"left: {100 * finding.operating_point:.1f}%")
    spread = "" if finding.spread is None else f" ± {finding.spread:.2f}"
    words = _name(finding.name, has_place=has_place)
    words += html.tag("span", html.text(call), classes=f"mf-call mf-ai {call_class}")
    words += html.tag("b", f"{finding.probability:.2f}{spread}", classes="mf-value mf-ai")
    track = html.tag("div", fill + tick, classes=f"mf-track mf-ai {call_class}")
    basis = html.tag("small", html.text(wording.basis(finding)), classes="mf-ai")
    pushes = _pushes(finding)
    return html.tag(
        "div", words + track + basis + pushes, classes="mf-finding", attributes={"data-finding": finding.name}
    )


def _pushes(finding: Finding) -> str:
    """How far each input moved the answer, in log-odds, as a bar to the right (for it) or to the left (against)."""
    bars = []
    for name, value in finding.contributions.items():
        width = min(50.0, 50 * abs(value) / _WIDEST_PUSH)
        left = 50.0 if value >= 0 else 50 - width
        bar = html.tag("i", "", style=f"left: {left:.1f}%; width: {width:.1f}%")
        word = "report text" if name == "text" else readable(name)
        label = html.text(f"{word} {value:+.1f}")
        bars.append(html.tag("span", label + html.tag("span", bar, classes="mf-axis"), classes="mf-push"))
    if not bars:
        return ""
    title = {"title": "Shapley values in log-odds: to the right for the finding, to the left against it"}
    return html.tag("div", "".join(bars), classes="mf-pushes mf-ai", attributes=title)


def _target(target: TargetPrediction) -> str:
    words = html.tag("span", html.text(readable(target.name)), classes="mf-name")
    words += html.tag("b", html.text(wording.target_value(target)), classes="mf-value mf-ai")
    return html.tag("div", words + _classes(target), classes="mf-finding")


def _classes(target: TargetPrediction) -> str:
    cells: Sequence[str] = [
        f"{readable(name)} {probability:.2f}"
        for name, probability in zip(target.classes, target.probabilities, strict=True)
    ]
    return html.tag("small", html.text(", ".join(cells)), classes="mf-ai") if cells else ""


def _segment(view: SegmentView) -> str:
    swatch = html.tag("i", "", classes="mf-swatch", style=f"background: rgb{view.colour}")
    words = html.tag("span", swatch + html.text(f"outline of {view.name}"), classes="mf-name")
    volume = f"{view.volume_mm3 / 1000:,.1f} ml" if view.volume_mm3 >= 10_000 else f"{view.volume_mm3:,.0f} mm³"
    words += html.tag("b", volume, classes="mf-value mf-ai")
    return html.tag("div", words, classes="mf-finding")
