"""The entry point that `streamlit run` executes: opens the results and draws the screen that is open."""

from pathlib import Path

import streamlit as st

from apps.viewer import state
from apps.viewer.screens import reading, worklist
from medfuse.errors import MedfuseError

_STYLE = Path(__file__).with_name("style.css")


def main() -> None:
    """Draw one run of the page."""
    st.set_page_config(page_title="medfuse review", layout="wide", initial_sidebar_state="collapsed")
    st.html(_STYLE)
    try:
        session = state.open_session()
    except MedfuseError as error:
        st.title("Nothing to review")
        st.error("The results cannot be opened.")
        st.text(str(error))
        return
    if session.study_instance_uid is None:
        worklist.show(session)
    else:
        reading.show(session, session.study_instance_uid)


main()
