"""Reading one study: images to the left, what the model says and the report to the right."""

from pathlib import Path

import streamlit as st

from apps.viewer import state
from apps.viewer.panels import findings, header, html, images, report
from apps.viewer.state import Session
from medfuse.domain import Prediction, Study
from medfuse.errors import MedfuseError
from medfuse.review import QueueRow, neighbours

_WIDTHS = (0.635, 0.365)


def show(session: Session, study_instance_uid: str) -> None:
    """Draw the screen."""
    row = next((r for r in session.queue() if r.study_instance_uid == study_instance_uid), None)
    if row is None:
        html.notice("error", "This study is no longer among the results.")
        st.button("Back to the worklist", on_click=state.close_study)
        return
    _topbar(session, row)
    header.store_problem(session)
    prediction, broken = _prediction(session, row)
    study, lost = _study(session, study_instance_uid)
    left, right = st.columns(_WIDTHS, gap="small")
    with left, st.container(key="images"):
        images.show(study, prediction, _segmentation(session, row), lost)
    with right, st.container(key="side"):
        _findings(session, row, prediction, broken)
        with st.container(key="report", border=True):
            report.show(study.reports if study else (), prediction, lost)


def _topbar(session: Session, row: QueueRow) -> None:
    before, behind = neighbours(session.order, row.study_instance_uid)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="topbar"):
        st.button("Worklist", icon=":material/list:", key="close", shortcut="W", on_click=state.close_study)
        _go("Previous", ":material/chevron_left:", "P", before)
        _go("Next", ":material/chevron_right:", "N", behind)
        html.draw([_title(session, row)], inline=True)
        st.space("stretch")
        header.statement()
        header.reviewer_field()


def _go(label: str, icon: str, shortcut: str, study_instance_uid: str | None) -> None:
    st.button(
        label,
        icon=icon,
        key=label.lower(),
        shortcut=shortcut,
        disabled=study_instance_uid is None,
        on_click=state.open_study,
        args=(study_instance_uid or "",),
    )


def _title(session: Session, row: QueueRow) -> str:
    order = list(session.order)
    uid = row.study_instance_uid
    place = f"{order.index(uid) + 1} of {len(order)}" if uid in order else ""
    return html.tag("span", html.text(row.title), classes="mf-title") + html.tag("span", place, classes="mf-place")


def _prediction(session: Session, row: QueueRow) -> tuple[Prediction | None, str]:
    """The model's answer, or None and why there is none."""
    if not row.is_scored:
        return None, f"This study was not scored: {row.reason}."
    try:
        return session.results.prediction(row.study_instance_uid), ""
    except MedfuseError as error:
        return None, f"The prediction cannot be shown: {error}"


def _study(session: Session, study_instance_uid: str) -> tuple[Study | None, str]:
    """The study on the disk, or None and why it cannot be found."""
    try:
        source = session.results.source(study_instance_uid)
        return _scanned(str(source), study_instance_uid, session), ""
    except MedfuseError as error:
        return None, str(error)


def _segmentation(session: Session, row: QueueRow) -> Path | None:
    return session.results.segmentation(row.study_instance_uid) if row.is_scored else None


def _findings(session: Session, row: QueueRow, prediction: Prediction | None, broken: str) -> None:
    if prediction is None:
        html.notice("error" if row.is_scored else "warning", broken)
        return
    findings.show(session, prediction)


@st.cache_resource(show_spinner="Looking for the study …", max_entries=32)
def _scanned(source: str, study_instance_uid: str, _session: Session) -> Study:
    return _session.results.study(study_instance_uid)
