"""What one browser session remembers, and what all sessions share.

Shared, once a process: the opened review and the packed images. A session holds names and places only, never voxels:
the worklist's filter and order, the notices of the last decisions, when the open case was opened. Which case is open
stands in the URL as its handle, a random token, so that a reload and a lost connection come back to it.
"""

import time
import uuid
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime

import streamlit as st

from apps.viewer import access
from apps.viewer.shelf import Shelf
from medfuse.domain import Review
from medfuse.errors import MedfuseError, StorageError, UsageError
from medfuse.review import Desk, Order, Reader, ReadingRoom, WorklistFilter, room_from_environment

_CASE = "case"
_SCREEN = "screen"
_AGREEMENT = "agreement"
_KEPT_IMAGES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What became of the last decision on a subject: a line, and whether it is kept."""

    text: str
    saved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """How the worklist stands: what is shown, in which order, from which row on."""

    shown: WorklistFilter = field(default_factory=WorklistFilter)
    order: Order = Order.TRIAGE
    descending: bool | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The review as the reader of this session sees it, for one run of the page."""

    room: ReadingRoom
    reader: Reader
    desk: Desk

    @property
    def may_decide(self) -> bool:
        """Whether the reader has a name to sign with."""
        return access.is_signed(self.room)

    @property
    def listing(self) -> Listing:
        """How the worklist stands."""
        kept = st.session_state.get("listing")
        return kept if isinstance(kept, Listing) else Listing()


@st.cache_resource(show_spinner="Opening the review …")
def open_room() -> ReadingRoom:
    """The review that the app was started on.

    Raises:
        MedfuseError: There is nothing to review, or decisions cannot be kept.
    """
    return room_from_environment()


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """The packed images of the last few studies."""
    return Shelf(_KEPT_IMAGES)


def open_handle() -> str | None:
    """The handle of the case that is open; None on the other screens."""
    return st.query_params.get(_CASE)


def is_on_agreement() -> bool:
    """Whether the agreement screen is open."""
    return st.query_params.get(_SCREEN) == _AGREEMENT


def open_case(handle: str) -> None:
    """Go to a case; its time begins to run."""
    leave()
    st.query_params[_CASE] = handle


def open_agreement() -> None:
    """Go to the agreement screen."""
    leave()
    st.query_params[_SCREEN] = _AGREEMENT


def leave() -> None:
    """Go back to the worklist; a case that was taken and not begun is free again."""
    st.query_params.clear()
    st.session_state["notices"] = {}
    st.session_state.pop("clock", None)


def start_clock(handle: str) -> None:
    """Begin to count the time on a case, unless it is being counted."""
    if st.session_state.get("clock", ("", 0.0))[0] != handle:
        st.session_state["clock"] = (handle, time.monotonic())


def seconds_on(handle: str) -> float:
    """Seconds on a case since it was opened or since the last thing kept."""
    kept, since = st.session_state.get("clock", ("", 0.0))
    return round(time.monotonic() - since, 1) if kept == handle else 0.0


def keep(handle: str, subject: Hashable, act: Callable[[str, float], Review | None], *, content: Hashable) -> bool:
    """Have a decision kept and note what became of it; the screen says saved only after it is on the disk.

    The same content tried again after a failure carries the same key, so that it is never kept twice.

    Args:
        handle: Of the case.
        subject: What the notice stands beside.
        act: Keeps it, given the key and the seconds since the last one.
        content: What tells this decision from another one on the same subject.

    Returns:
        Whether it is kept.
    """
    pending = st.session_state.setdefault("pending", {})
    key = pending.setdefault((handle, subject, content), str(uuid.uuid4()))
    try:
        kept = act(key, seconds_on(handle))
    except StorageError as error:
        note(handle, subject, Notice(text=f"NOT saved. {error}", saved=False))
        return False
    except UsageError as error:
        pending.pop((handle, subject, content), None)
        note(handle, subject, Notice(text=f"Not saved: {error}", saved=False))
        return False
    pending.pop((handle, subject, content), None)
    st.session_state["clock"] = (handle, time.monotonic())
    word = "Saved" if kept is not None else "Nothing to undo"
    note(handle, subject, Notice(text=f"{word} {datetime.now().astimezone():%H:%M:%S}", saved=True))
    return True


def notice(handle: str, subject: Hashable) -> Notice | None:
    """What became of this session's last decision on a subject of the open case."""
    found: Notice | None = st.session_state.get("notices", {}).get((handle, subject))
    return found


def note(handle: str, subject: Hashable, told: Notice) -> None:
    """Remember what became of a decision."""
    st.session_state.setdefault("notices", {})[handle, subject] = told


def release(session: Session, handle: str) -> None:
    """Give a case back; a failure leaves the claim to end by itself."""
    try:
        session.desk.release(handle)
    except MedfuseError:
        return


def reason_for(handle: str) -> str:
    """Why the reader changes a case that is signed off, as typed; empty for nothing."""
    return str(st.session_state.get(f"reason/{handle}", "")).strip()


def go_on(session: Session) -> None:
    """Open the next case that is open for this reader, or the worklist when all is done."""
    listing = session.listing
    following = session.desk.next_open(listing.shown, listing.order)
    if following is None:
        leave()
    else:
        open_case(following)
    rerun_all()


def rerun_all() -> None:
    """Have the whole page drawn again, though the click was in a part of it."""
    st.session_state["whole_page"] = True


def takes_whole_page() -> bool:
    """Whether a click in a part of the page asked for all of it; asked once."""
    return bool(st.session_state.pop("whole_page", False))
