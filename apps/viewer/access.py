"""Who sits before the screen: a login where the review has a users file, else a local reader who signs with a name."""

import time

import streamlit as st

from apps.viewer.panels import header, html
from medfuse.review import AccessError, Reader, ReadingRoom, local_reader

_UNNAMED = "not signed"
_LAST_CLICK = "last_click"
_ENDED = "session_ended"


def reader_of(room: ReadingRoom) -> Reader | None:
    """The reader of this session; None while there is none, a login or a refusal then stands on the page."""
    if room.policy.is_local:
        return local_reader(local_name() or _UNNAMED)
    if not _is_configured():
        _page("Login is not set up", "This review has a users file, so it needs the [auth] section of secrets.toml.")
        return None
    if not st.user.is_logged_in:
        _login()
        return None
    if _is_over(room.policy.session_minutes):
        st.session_state[_ENDED] = True
        st.logout()
        return None
    try:
        return room.policy.reader(str(st.user.get("email", "")))
    except AccessError as error:
        _page("No access", str(error))
        st.button("Sign out", on_click=st.logout)
        return None


def local_name() -> str:
    """How the local reader signs; empty until typed."""
    return str(st.session_state.get(header.NAME_KEY, "")).strip()


def is_signed(room: ReadingRoom) -> bool:
    """Whether what is decided now carries a person's name."""
    return not room.policy.is_local or bool(local_name())


def _is_configured() -> bool:
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def _is_over(minutes: int) -> bool:
    """Whether the last click is too long ago; a click now counts."""
    now = time.monotonic()
    before = st.session_state.get(_LAST_CLICK, now)
    st.session_state[_LAST_CLICK] = now
    return bool(now - before > 60 * minutes)


def _login() -> None:
    _page("medfuse review", "Sign in with your department's account to read.")
    if st.session_state.get(_ENDED):
        html.notice("info", "Your session ended because nobody had used it for a while. What was saved is kept.")
    st.button("Sign in", type="primary", key="login", on_click=st.login)


def _page(title: str, line: str) -> None:
    html.draw([html.tag("h1", html.text(title), classes="mf-page"), html.tag("p", html.text(line))])
    header.statement()
