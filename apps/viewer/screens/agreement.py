"""The agreement screen: kappa with intervals, readers against the model and each other, over time; drift beside it."""

from collections.abc import Sequence

import streamlit as st

from apps.viewer import state
from apps.viewer.panels import header, html, intervals
from apps.viewer.state import Session
from medfuse.errors import MedfuseError
from medfuse.review import Agreement, Disagreement, DriftRow, GroupAgreement, PairAgreement, readable

_WINDOWS = {"the whole span": "", "by month": "month", "by week": "week"}
_MOST_DISAGREEMENTS = 50


def show(session: Session) -> None:
    """Draw the screen."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="topbar"):
        st.button("Worklist", icon=":material/list:", key="close", shortcut="W", on_click=state.leave)
        html.draw([html.tag("span", "Agreement", classes="mf-title")], inline=True)
        window = st.segmented_control(
            "Over time",
            list(_WINDOWS),
            default="the whole span",
            key="window",
            label_visibility="collapsed",
            required=True,
        )
        st.space("stretch")
        header.statement()
        header.who(session.room, session.reader)
    try:
        with st.spinner("Comparing the decisions …", show_time=True):
            told = session.desk.agreement(window=_WINDOWS[window or "the whole span"])
    except MedfuseError as error:
        html.notice("error", f"The agreement cannot be shown: {error}")
        return
    if not told.pairs:
        html.notice(
            "info",
            "There is nothing to compare yet: two readers, or a reader and the model, have to decide on one study.",
        )
    _figures(told)
    left, right = st.columns(2, gap="medium")
    with left, st.container(key="disagreements", border=True):
        _disagreements(told.disagreements)
    with right, st.container(key="drift", border=True):
        _drift(session)


def _figures(told: Agreement) -> None:
    if told.pairs:
        html.draw([_heading("Two raters at a time (Cohen's kappa, 95 % interval)")])
        html.draw([_pairs(told.pairs)])
        html.notice(
            "info",
            "A reader who saw the model before deciding is not independent of it: agreement then looks better than it "
            "is. The share decided blind stands beside each figure.",
        )
    if told.groups:
        html.draw([_heading("All readers together (Fleiss' kappa, 95 % interval)")])
        html.draw([_groups(told.groups)])


def _heading(words: str) -> str:
    return html.tag("h2", html.text(words), classes="mf-section")


def _pairs(pairs: Sequence[PairAgreement]) -> str:
    rows = [
        (
            readable(pair.finding),
            f"{pair.first} and {pair.second}",
            pair.window or "all",
            str(pair.n),
            f"{100 * pair.observed:.0f} %",
            intervals.words(pair.kappa, pair.low, pair.high, pair.reason),
            intervals.bar(pair.kappa, pair.low, pair.high),
            "" if pair.blind_share is None else f"{100 * pair.blind_share:.0f} %",
        )
        for pair in pairs
    ]
    return _table(("Finding", "Raters", "Time", "Studies", "Agree", "Kappa", "−1 … 0 … 1", "Blind"), rows, drawn=6)


def _groups(groups: Sequence[GroupAgreement]) -> str:
    rows = [
        (
            readable(group.finding),
            ", ".join(group.readers),
            group.window or "all",
            str(group.n),
            intervals.words(group.kappa, group.low, group.high, group.reason),
            intervals.bar(group.kappa, group.low, group.high),
        )
        for group in groups
    ]
    return _table(("Finding", "Readers", "Time", "Studies", "Kappa", "−1 … 0 … 1"), rows, drawn=5)


def _disagreements(found: Sequence[Disagreement]) -> None:
    html.draw([_heading(f"Disagreements ({len(found)})")])
    if not found:
        html.notice("info", "No disagreement.")
    for number, one in enumerate(found[:_MOST_DISAGREEMENTS]):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button(one.title, key=f"open/{number}", on_click=state.open_case, args=(one.handle,))
            said = ", ".join(f"{rater}: {readable(str(value).lower())}" for rater, value in one.values.items())
            html.draw([html.tag("span", html.text(f"{readable(one.finding)} · {said}"))], inline=True)
    if len(found) > _MOST_DISAGREEMENTS:
        html.notice("info", f"The newest {_MOST_DISAGREEMENTS} of {len(found)} are shown.")


def _drift(session: Session) -> None:
    html.draw([_heading("Drift of inputs and outputs, by month against the first")])
    if not session.reader.may_see_agreement:
        html.notice("info", "A lead or an admin sees how inputs and outputs change over time.")
        return
    try:
        rows = session.desk.drift(windows="month")
    except MedfuseError as error:
        html.notice("error", f"The drift cannot be shown: {error}")
        return
    if not rows:
        html.notice("info", "There is only one month of scored studies, so there is nothing to compare it with.")
        return
    html.draw([_drift_table(rows)])


def _drift_table(rows: Sequence[DriftRow]) -> str:
    cells = [
        (
            readable(row.quantity),
            row.window,
            f"{row.n} / {row.reference_n}",
            f"{row.mean:.3g} / {row.reference_mean:.3g}",
            "" if row.psi is None else f"{row.psi:.2f}",
            "" if row.p_value is None else f"{row.p_value:.3f}",
            row.verdict,
        )
        for row in rows
    ]
    return _table(("Quantity", "Month", "Studies / first", "Mean / first", "PSI", "KS p", "Verdict"), cells)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, drawn: int = -1) -> str:
    """A table of text; the column `drawn` is HTML already."""
    head = "".join(html.tag("th", html.text(one), attributes={"scope": "col"}) for one in heads)
    body = "".join(
        html.tag("tr", "".join(html.tag("td", cell if n == drawn else html.text(cell)) for n, cell in enumerate(row)))
        for row in rows
    )
    return html.tag("table", html.tag("thead", html.tag("tr", head)) + html.tag("tbody", body), classes="mf-table")
