"""The line on top of both screens: what is open, who reviews, and what this software is for."""

import streamlit as st

from apps.viewer import state
from apps.viewer.panels import html
from apps.viewer.state import Session

STATEMENT = "Research use only, not for diagnosis"


def reviewer_field() -> None:
    """Where the reader signs; the name goes with every decision."""
    st.text_input(
        "Reviewer",
        key=state.REVIEWER_KEY,
        placeholder="Your name, to decide",
        label_visibility="collapsed",
        max_chars=80,
        width=190,
    )


def statement() -> None:
    """The research-use statement, once a screen."""
    html.draw([html.tag("span", html.text(STATEMENT), classes="mf-statement")], inline=True)


def store_problem(session: Session) -> None:
    """Says that decisions cannot be kept here, and why."""
    if session.store is None:
        html.notice("error", f"Decisions cannot be saved here, so this is read only. {session.store_problem}")
