"""The entry point that `streamlit run` executes: who reads, which screen is open."""

from pathlib import Path

import streamlit as st

from apps.viewer import access, state
from apps.viewer.panels import header, html
from apps.viewer.screens import agreement, reading, worklist
from apps.viewer.state import Session
from medfuse.errors import MedfuseError

_STYLE = Path(__file__).with_name("style.css")


def main() -> None:
    """Draw one run of the page."""
    st.set_page_config(page_title="medfuse review", layout="wide", initial_sidebar_state="collapsed")
    st.html(_STYLE)
    try:
        room = state.open_room()
        reader = access.reader_of(room)
        if reader is None:
            return
        room.refresh()
        session = Session(room=room, reader=reader, desk=room.desk(reader))
    except MedfuseError as error:
        html.draw([html.tag("h1", "Nothing to review", classes="mf-page")])
        html.notice("error", error)
        header.statement()
        return
    handle = state.open_handle()
    if handle is not None:
        reading.show(session, handle)
    elif state.is_on_agreement():
        agreement.show(session)
    else:
        worklist.show(session)


main()
