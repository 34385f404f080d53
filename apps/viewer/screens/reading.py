"""Reading one study: images to the left, what the model says and the report to the right."""

from datetime import datetime

import streamlit as st

from apps.viewer import pictures, state
from apps.viewer.panels import findings, header, html, images, report
from apps.viewer.state import Session
from medfuse.domain import Study
from medfuse.errors import MedfuseError
from medfuse.review import AccessError, Case

_WIDTHS = (0.635, 0.365)


def show(session: Session, handle: str) -> None:
    """Draw the screen."""
    try:
        case = session.desk.case(handle)
    except AccessError as error:
        html.notice("error", f"This case cannot be opened: {error}")
        st.button("Back to the worklist", key="close", on_click=state.leave)
        header.statement()
        return
    state.start_clock(handle)
    following = _topbar(session, case)
    _claim(session, case)
    study, lost = _study(case)
    left, right = st.columns(_WIDTHS, gap="small")
    with left, st.container(key="images"):
        images.show(session, case, study, lost)
    with right, st.container(key="side"):
        findings.show(session, handle)
        with st.container(key="report", border=True):
            reports = study.reports if study else ()
            lexicon, segments = session.room.lexicon, session.room.segments
            report.show(reports, case.prediction, lexicon, segments, handle=handle, problem=lost)
    _read_ahead(session, following)


def _topbar(session: Session, case: Case) -> str | None:
    """The line on top; gives the handle of the next case."""
    listing = session.listing
    before, behind = session.desk.neighbours(case.handle, listing.shown, listing.order, descending=listing.descending)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="topbar"):
        st.button("Worklist", icon=":material/list:", key="close", shortcut="W", on_click=_leave, args=(session, case))
        _go(session, case, "Previous", ":material/chevron_left:", "P", before)
        _go(session, case, "Next", ":material/chevron_right:", "N", behind)
        html.draw([_title(case)], inline=True)
        st.space("stretch")
        header.statement()
        header.who(session.room, session.reader)
    return behind


def _go(session: Session, case: Case, label: str, icon: str, shortcut: str, handle: str | None) -> None:
    st.button(
        label,
        icon=icon,
        key=label.lower(),
        shortcut=shortcut,
        disabled=handle is None,
        on_click=_open,
        args=(session, case, handle or ""),
    )


def _title(case: Case) -> str:
    words = html.tag("span", html.text(case.title), classes="mf-title")
    words += html.tag("span", html.text(case.row.status.value), classes="mf-place")
    if case.row.priority_reason and not case.is_blind:
        words += html.tag("span", html.text(case.row.priority_reason), classes="mf-place mf-why mf-ai")
    return words


def _claim(session: Session, case: Case) -> None:
    """Take the case, or say who has it; a claim is no lock, so reading goes on."""
    if not session.may_decide:
        return
    try:
        held = session.desk.claim(case.handle)
    except MedfuseError as error:
        html.notice("error", f"Decisions cannot be saved here, so this is read only. {error}")
        return
    if held.is_mine:
        return
    until = datetime.fromisoformat(held.until).astimezone()
    with st.container(horizontal=True, vertical_alignment="center", key="held"):
        html.notice("warning", f"{held.by} is reading this case, until {until:%H:%M} unless it is renewed.")
        if session.reader.may_take_over:
            st.button("Take over", key="take_over", on_click=_take_over, args=(session, case))


def _take_over(session: Session, case: Case) -> None:
    session.desk.claim(case.handle, take_over=True)


def _leave(session: Session, case: Case) -> None:
    state.release(session, case.handle)
    state.leave()


def _open(session: Session, case: Case, handle: str) -> None:
    state.release(session, case.handle)
    state.open_case(handle)


def _study(case: Case) -> tuple[Study | None, str]:
    """The study on the disk, or None and why it cannot be found."""
    try:
        with st.spinner("Looking for the study …", show_time=True):
            return pictures.study_of(state.shelf(), case), ""
    except MedfuseError as error:
        return None, str(error)


def _read_ahead(session: Session, handle: str | None) -> None:
    """Have the images of the next case packed while this one is read."""
    if handle is not None:
        pictures.ahead(state.shelf(), session.desk.case(handle))
