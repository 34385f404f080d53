"""What one browser session remembers, and what all sessions share.

Shared, once a process: the opened results, the review store. A session holds names and places only, never voxels:
`study` (the study that is open), `order` (the worklist's order, for previous and next), `reviewer`, `notices`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from medfuse.domain import Review, Verdict
from medfuse.errors import MedfuseError, StorageError, UsageError
from medfuse.review import QueueRow, Results, ReviewStore

DIRECTORY_VARIABLE = "MEDFUSE_REVIEW_DIR"
"""Environment variable that holds the folder of results; `medfuse review` sets it."""

REVIEWER_KEY = "reviewer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What became of the last decision on a subject: a line, and whether it is kept."""

    text: str
    saved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The opened results and store, as one run of the page sees them.

    Args:
        results: What is reviewed.
        store: Where decisions go, or None where it cannot be opened.
        store_problem: Why there is no store; empty where there is one.
    """

    results: Results
    store: ReviewStore | None
    store_problem: str = ""

    @property
    def study_instance_uid(self) -> str | None:
        """The study that is open, or None on the worklist."""
        uid = st.session_state.get("study")
        return uid if isinstance(uid, str) else None

    @property
    def reviewer(self) -> str:
        """Who decides, as that person signs; empty until told."""
        return str(st.session_state.get(REVIEWER_KEY, "")).strip()

    @property
    def order(self) -> Sequence[str]:
        """The Study Instance UIDs in the order of the worklist that the study was opened from."""
        order: Sequence[str] = st.session_state.get("order", ())
        return order or [row.study_instance_uid for row in self.results.scores if row.study_instance_uid]

    def queue(self) -> tuple[QueueRow, ...]:
        """One row a study with its standing decision."""
        return self.results.queue(self.store.latest_of_studies() if self.store else {})

    def history(self, study_instance_uid: str) -> tuple[Review, ...]:
        """Every decision on a study, oldest first; none where there is no store."""
        return self.store.history(study_instance_uid) if self.store else ()

    def decide(
        self, study_instance_uid: str, subject: str | None, verdict: Verdict, *, comment: str, weights_sha256: str
    ) -> bool:
        """Keep a decision and note what became of it.

        Returns:
            Whether it is kept: True only after the store has committed it.
        """
        if self.store is None or not self.reviewer:
            _note(study_instance_uid, subject, Notice(text="Not saved.", saved=False))
            return False
        now = datetime.now(UTC)
        review = Review(
            study_instance_uid=study_instance_uid,
            subject=subject,
            verdict=verdict,
            reviewer=self.reviewer,
            comment=comment.strip(),
            model_weights_sha256=weights_sha256,
            created_at=now.isoformat(timespec="milliseconds"),
        )
        try:
            self.store.add(review)
        except StorageError as error:
            _note(study_instance_uid, subject, Notice(text=f"NOT saved. {error}", saved=False))
            return False
        _note(study_instance_uid, subject, Notice(text=f"Saved {now.astimezone():%H:%M:%S}", saved=True))
        return True


def open_session() -> Session:
    """The results and the store of the folder that the app was started on.

    Raises:
        UsageError: The folder is not told, is missing, or holds no results.
    """
    told = os.environ.get(DIRECTORY_VARIABLE, "")
    if not told:
        raise UsageError("no folder of results was given; start the dashboard with `medfuse review DIR`")
    directory = Path(told)
    scores = directory / "scores.csv"
    results = _results(directory, scores.stat().st_mtime_ns if scores.is_file() else 0)
    try:
        return Session(results=results, store=_store(directory))
    except MedfuseError as error:
        return Session(results=results, store=None, store_problem=str(error))


def open_study(study_instance_uid: str, order: Sequence[str] | None = None) -> None:
    """Go to a study; `order` is the worklist's, for previous and next."""
    st.session_state["study"] = study_instance_uid
    st.session_state["notices"] = {}
    if order is not None:
        st.session_state["order"] = tuple(order)


def close_study() -> None:
    """Go back to the worklist."""
    st.session_state["study"] = None


def notice(study_instance_uid: str, subject: str | None) -> Notice | None:
    """What became of this session's last decision on a subject of the open study."""
    found: Notice | None = st.session_state.get("notices", {}).get((study_instance_uid, subject))
    return found


def _note(study_instance_uid: str, subject: str | None, text: Notice) -> None:
    st.session_state.setdefault("notices", {})[study_instance_uid, subject] = text


@st.cache_resource(show_spinner="Opening the results …", max_entries=4)
def _results(directory: Path, changed_at: int) -> Results:
    return Results(directory)


@st.cache_resource(show_spinner=False, max_entries=4)
def _store(directory: Path) -> ReviewStore:
    return ReviewStore(directory)
