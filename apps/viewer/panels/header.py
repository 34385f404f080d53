"""The line on top of every screen: who reads, and what this software is for."""

import streamlit as st

from apps.viewer.panels import html
from medfuse.review import Reader, ReadingRoom

STATEMENT = "Research use only, not for diagnosis"
NAME_KEY = "reviewer"
"""Where a session keeps the name that the local reader signs with."""


def who(room: ReadingRoom, reader: Reader) -> None:
    """Where the local reader signs, or the name and the way out of one who logged in."""
    if room.policy.is_local:
        st.text_input(
            "Reader",
            key=NAME_KEY,
            placeholder="Your name, to decide",
            label_visibility="collapsed",
            max_chars=80,
            width=170,
        )
        return
    html.draw([html.tag("span", html.text(f"{reader.name}, {reader.role.value}"), classes="mf-statement")], inline=True)
    st.button("Sign out", key="logout", on_click=st.logout)


def statement() -> None:
    """The research-use statement, once a screen."""
    html.draw([html.tag("span", html.text(STATEMENT), classes="mf-statement")], inline=True)
