"""The worklist: every study with what the model said and what was decided; choose, filter, sort, open."""

from collections.abc import Sequence
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from apps.viewer import state
from apps.viewer.panels import header, html
from apps.viewer.state import Session
from medfuse.errors import MedfuseError
from medfuse.review import QueueFilter, QueueRow, ReviewStatus, SortBy, counts, readable, worklist

_ANY = "any finding"
_ROW_HEIGHT = 32
_FEW_FINDINGS = 4


def show(session: Session) -> None:
    """Draw the screen."""
    try:
        rows, problem = session.queue(), ""
    except MedfuseError as error:
        rows, problem = (), f"The decisions cannot be read: {error}"
    with st.container(horizontal=True, vertical_alignment="center", key="topbar"):
        html.draw([html.tag("span", "Worklist", classes="mf-title")], inline=True)
        html.draw([_counts(rows)], inline=True)
        hint = st.container(width="content")
        st.space("stretch")
        header.statement()
        header.reviewer_field()
    header.store_problem(session)
    if problem:
        html.notice("error", problem)
    elif not rows:
        html.notice("info", "No study has been scored yet. Run `medfuse score`, then reload this page.")
    else:
        _list(rows, hint)


def _list(rows: Sequence[QueueRow], hint: DeltaGenerator) -> None:
    findings = list(dict.fromkeys(name for row in rows for name in row.probabilities))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="filters"):
        start = st.container(width="content")
        shown = _filtered(rows, findings)
    with hint:
        html.draw([html.tag("span", f"{len(shown)} shown, click a row to open it", classes="mf-place")], inline=True)
    order = [row.study_instance_uid for row in shown if row.study_instance_uid]
    nearest = next((row for row in shown if row.is_scored and row.status is ReviewStatus.OPEN), None)
    start.button(
        f"Read {nearest.title}" if nearest else "Nothing open",
        key="start",
        type="primary",
        disabled=nearest is None,
        help="Open the first undecided study of the list",
        on_click=state.open_study,
        args=(nearest.study_instance_uid if nearest else "", order),
    )
    if shown:
        _table(shown, order, findings)
    else:
        html.notice("info", "No study matches these filters.")


def _counts(rows: Sequence[QueueRow]) -> str:
    numbers = counts(row for row in rows if row.is_scored)
    parts = [html.tag("span", f"<b>{len(rows)}</b> studies")]
    for status in ReviewStatus:
        parts.append(html.tag("span", f"<b>{numbers[status]}</b> {status.value}", classes=f"mf-dot mf-{status.value}"))
    unscored = sum(not row.is_scored for row in rows)
    parts.append(html.tag("span", f"<b>{unscored}</b> without a result", classes="mf-dot mf-unscored"))
    return html.tag("div", "".join(parts), classes="mf-counts")


def _filtered(rows: Sequence[QueueRow], findings: Sequence[str]) -> tuple[QueueRow, ...]:
    text = st.text_input("Search", key="filter/text", placeholder="accession, UID, reason, reviewer", width=210)
    statuses = st.multiselect("Review", list(ReviewStatus), key="filter/status", placeholder="all", width=190)
    finding = st.selectbox("Finding", [_ANY, *findings], key="filter/finding", format_func=readable, width=210)
    at_least = st.slider("Probability from", 0.0, 1.0, 0.0, 0.05, key="filter/at_least", width=130)
    sort = st.selectbox("Order", list(SortBy), key="filter/sort", index=1, width=260)
    shown = QueueFilter(
        text=text,
        statuses=frozenset(statuses),
        finding=None if finding == _ANY else finding,
        at_least=at_least,
    )
    return worklist(rows, shown, sort or SortBy.OPEN_FIRST)


def _table(shown: Sequence[QueueRow], order: list[str], findings: Sequence[str]) -> None:
    st.dataframe(
        [_cells(row, findings) for row in shown],
        key="table",
        hide_index=True,
        row_height=_ROW_HEIGHT,
        height="stretch",
        on_select=lambda: _open_selected(shown, order),
        selection_mode="single-cell",
        column_config=_columns(findings),
        placeholder="",
    )


def _open_selected(shown: Sequence[QueueRow], order: list[str]) -> None:
    cells = st.session_state["table"]["selection"]["cells"]
    if cells and shown[cells[0][0]].study_instance_uid:
        state.open_study(shown[cells[0][0]].study_instance_uid, order)


def _cells(row: QueueRow, findings: Sequence[str]) -> dict[str, Any]:
    highest = row.highest
    return {
        "study": row.title,
        "result": "scored" if row.is_scored else row.reason,
        "leading": readable(highest[0]) if highest else None,
        "highest": highest[1] if highest else None,
        **{f"p/{finding}": row.probabilities.get(finding) for finding in findings},
        "status": row.status.value if row.is_scored else "",
        "reviewer": row.reviewer,
        "model": row.model,
    }


def _columns(findings: Sequence[str]) -> dict[str, Any]:
    config = st.column_config
    width = 165 if len(findings) <= _FEW_FINDINGS else 100
    return {
        "study": config.TextColumn("Study", width=140),
        "result": config.TextColumn("Result", width=120),
        "leading": config.TextColumn("Most likely finding", width=190),
        "highest": config.ProgressColumn("Probability", format="%.2f", min_value=0.0, max_value=1.0, width="small"),
        **{f"p/{name}": config.NumberColumn(readable(name), format="%.2f", width=width) for name in findings},
        "status": config.TextColumn("Review", width=80),
        "reviewer": config.TextColumn("Reviewer", width=120),
        "model": config.TextColumn("Model", width="medium"),
    }
