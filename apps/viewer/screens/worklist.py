"""The worklist: every study in the order of triage, with the reason; filter, search, sort, claim, open."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import streamlit as st
import streamlit.components.v1 as components

from apps.viewer import state
from apps.viewer.panels import header, html
from apps.viewer.state import Listing, Session
from medfuse.errors import MedfuseError
from medfuse.review import CaseStatus, Choices, Order, Page, WorklistFilter, WorklistRow, readable

_ROWS = components.declare_component("medfuse_rows", path=Path(__file__).parents[1] / "panels" / "rows")
_KEY = "rows"
_HEIGHT = 560
_LIMIT = 50
_ANY = "any finding"
_EVERYBODY = "anybody"
_FALLING = frozenset({Order.TRIAGE, Order.PROBABILITY, Order.UNCERTAINTY, Order.DECIDED})
_SURE = {"sure or not": None, "not sure": True, "sure": False}
_COLUMNS: tuple[tuple[str, str, str, Order | None], ...] = (
    ("study", "Study", "text", Order.ACCESSION),
    ("finding", "Most likely", "text", None),
    ("p", "Probability", "probability", Order.PROBABILITY),
    ("uncertainty", "Uncertainty", "probability", Order.UNCERTAINTY),
    ("flags", "Flags", "text", None),
    ("status", "Review", "status", Order.STATUS),
    ("reviewers", "Readers", "text", None),
    ("decided", "Decided", "text", Order.DECIDED),
    ("why", "Why here", "text", Order.TRIAGE),
    ("claim", "Claim", "claim", None),
)


def show(session: Session) -> None:
    """Draw the screen."""
    with st.container(horizontal=True, vertical_alignment="center", key="topbar"):
        html.draw([html.tag("span", "Worklist", classes="mf-title")], inline=True)
        counts = st.container(width="content")
        st.space("stretch")
        st.button("Agreement", key="agreement", on_click=state.open_agreement)
        header.statement()
        header.who(session.room, session.reader)
    try:
        _list(session, counts)
    except MedfuseError as error:
        html.notice("error", f"The worklist cannot be read: {error}")


def _list(session: Session, counts: Any) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="filters"):
        start = st.container(width="content")
        shown = _filter(session.desk.choices())
    listing = _listing(session, shown)
    page = session.desk.page(
        listing.shown, listing.order, descending=listing.descending, offset=listing.offset, limit=_LIMIT
    )
    with counts:
        html.draw([_counts(page)], inline=True)
    _start(session, start, listing)
    if page.total:
        _table(session, page, listing)
    elif shown == WorklistFilter():
        html.notice("info", "There is nothing to read yet. Score studies with `medfuse score`, then reload this page.")
    else:
        html.notice("info", "No study matches these filters.")


def _start(session: Session, place: Any, listing: Listing) -> None:
    following = session.desk.next_open(listing.shown, listing.order)
    place.button(
        "Read next" if following else "Nothing open",
        key="start",
        type="primary",
        shortcut="N",
        disabled=following is None,
        help="Open the first study of this list that you have not signed off and nobody else has claimed",
        on_click=state.open_case,
        args=(following or "",),
    )


def _filter(choices: Choices) -> WorklistFilter:
    """What the widgets ask for."""
    text = st.text_input("Search", key="filter/text", placeholder="accession, UID, reason, reader", width=190)
    statuses = st.multiselect("Review", list(CaseStatus), key="filter/statuses", placeholder="all", width=150)
    finding = st.selectbox("Finding", [_ANY, *choices.findings], key="filter/finding", format_func=readable, width=165)
    low, high = st.slider("Probability", 0.0, 1.0, (0.0, 1.0), 0.05, key="filter/probability", width=130)
    mine = st.toggle("My cases", key="filter/mine")
    with st.popover("More", key="filter/more"):
        sure = st.selectbox("The model is", list(_SURE), key="filter/sure")
        flags = st.multiselect("With all of these flags", choices.flags, key="filter/flags", placeholder="any")
        reviewer = st.selectbox("Read by", [_EVERYBODY, *choices.reviewers], key="filter/reviewer")
        project = st.selectbox(
            "Project", ["", *choices.projects], key="filter/project", format_func=lambda p: p or "all"
        )
        decided = _days(st.date_input("Decided from, to", value=[], key="filter/decided"))
        scored = _days(st.date_input("Scored from, to", value=[], key="filter/scored"))
    return WorklistFilter(
        text=text,
        statuses=frozenset(statuses),
        finding=None if finding == _ANY else finding,
        at_least=low,
        at_most=high,
        unsure=_SURE[sure or "sure or not"],
        flags=frozenset(flags),
        reviewer="" if reviewer in (None, _EVERYBODY) else str(reviewer),
        mine=mine,
        project=project or "",
        decided_from=decided[0],
        decided_to=decided[1],
        scored_from=scored[0],
        scored_to=scored[1],
    )


def _days(given: Any) -> tuple[date | None, date | None]:
    days = tuple(given) if isinstance(given, tuple | list) else (given,)
    return (days[0] if days else None, days[1] if len(days) > 1 else None)


def _listing(session: Session, shown: WorklistFilter) -> Listing:
    """How the list stands; another filter begins it anew."""
    before = session.listing
    now = before if before.shown == shown else replace(before, shown=shown, offset=0)
    st.session_state["listing"] = now
    return now


def _counts(page: Page) -> str:
    parts = [html.tag("span", f"<b>{page.total}</b> shown")]
    for status, number in page.counts.items():
        name = html.text(status.value)
        parts.append(html.tag("span", f"<b>{number}</b> {name}", classes=f"mf-dot mf-{status.value.replace(' ', '-')}"))
    return html.tag("div", "".join(parts), classes="mf-counts")


def _table(session: Session, page: Page, listing: Listing) -> None:
    falls = listing.order in _FALLING if listing.descending is None else listing.descending
    _ROWS(
        columns=[
            {"name": name, "label": label, "kind": kind, "order": order.value if order else ""}
            for name, label, kind, order in _COLUMNS
        ],
        rows=[_row(row) for row in page.rows],
        offset=listing.offset,
        limit=_LIMIT,
        total=page.total,
        order=listing.order.value,
        descending=falls,
        chosen=st.session_state.get("read_last", ""),
        version=f"{listing}",
        may_claim=session.may_decide,
        height=_HEIGHT,
        key=_KEY,
        default=None,
        on_change=lambda: _heard(session, listing),
    )


def _row(row: WorklistRow) -> dict[str, Any]:
    cells: Mapping[str, Any] = {
        "study": row.title,
        "finding": readable(row.highest[0]) if row.highest else row.reason,
        "p": row.highest[1] if row.highest else None,
        "uncertainty": row.uncertainty if row.highest else None,
        "flags": ", ".join(row.flags),
        "status": row.status.value,
        "reviewers": ", ".join(row.reviewers),
        "decided": row.decided_at[:16].replace("T", " "),
        "why": row.priority_reason,
        "claim": row.claimed_by,
    }
    return {"handle": row.handle, "claimed": bool(row.claimed_by), "mine": row.claimed_by_me, "cells": dict(cells)}


def _heard(session: Session, listing: Listing) -> None:
    """Do what the table asks for."""
    told = st.session_state.get(_KEY)
    if not isinstance(told, dict):
        return
    kind, value = told.get("kind"), told.get("value")
    if kind == "open":
        state.open_case(str(value))
    elif kind == "page" and isinstance(value, int):
        st.session_state["listing"] = replace(listing, offset=max(0, value))
    elif kind == "order" and value in set(Order):
        st.session_state["listing"] = _sorted(listing, Order(str(value)))
    elif kind in {"claim", "release"}:
        act = session.desk.claim if kind == "claim" else session.desk.release
        act(str(value))


def _sorted(listing: Listing, order: Order) -> Listing:
    """Another column sorts its own way first, the same one the other way round."""
    if order is not listing.order:
        return replace(listing, order=order, descending=None, offset=0)
    falls = order in _FALLING if listing.descending is None else listing.descending
    return replace(listing, descending=not falls, offset=0)
