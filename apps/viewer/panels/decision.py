"""A reader's decision on one subject: one click saves it, with the comment that stands beside it."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from apps.viewer import state
from apps.viewer.panels import html
from apps.viewer.state import Session
from medfuse.domain import Review, Verdict
from medfuse.review import readable

_BUTTONS = (
    (Verdict.ACCEPTED, "Accept", "The model is right about the"),
    (Verdict.REJECTED, "Reject", "The model is wrong about the"),
    (Verdict.UNSURE, "Unsure", "Cannot tell about the"),
)
WORDS = {Verdict.ACCEPTED: "accepted", Verdict.REJECTED: "rejected", Verdict.UNSURE: "unsure"}


def show(
    session: Session,
    study_instance_uid: str,
    subject: str | None,
    words: str,
    standing: Review | None,
    *,
    weights_sha256: str,
) -> None:
    """Draw the buttons and the comment of one subject, and what stands.

    Args:
        session: Where the decision goes.
        study_instance_uid: Which study.
        subject: The finding or segment; None for the whole study.
        words: The subject for a person.
        standing: The decision that stands, if any.
        weights_sha256: Which model's answer is on the screen.
    """
    key = f"{study_instance_uid}/{'' if subject is None else subject}"
    may_decide = session.store is not None and bool(session.reviewer)
    row = st.form(f"form/{key}", border=False, enter_to_submit=False)
    with row, st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        for verdict, label, tip in _BUTTONS:
            st.form_submit_button(
                label,
                key=f"{verdict.value}/{key}",
                help=f"{tip} {words}" if may_decide else "Type your name at the top right first",
                type="primary" if standing and standing.verdict is verdict else "secondary",
                disabled=not may_decide,
                on_click=_save,
                args=(session, study_instance_uid, subject, verdict, f"comment/{key}", weights_sha256),
            )
        st.text_input(
            f"Comment on the {words}",
            key=f"comment/{key}",
            placeholder="Comment, saved with the decision",
            label_visibility="collapsed",
            max_chars=2000,
        )
    _standing(study_instance_uid, subject, standing)


def history(reviews: Sequence[Review]) -> None:
    """Every decision on the study, newest first."""
    with st.expander(f"History of decisions ({len(reviews)})"):
        if not reviews:
            st.caption("No decision yet.")
        rows = []
        for review in reversed(reviews):
            subject = "whole study" if review.subject is None else readable(review.subject)
            cells = (
                _clock(review, "%Y-%m-%d %H:%M:%S"),
                review.reviewer,
                subject,
                WORDS[review.verdict],
                review.comment,
            )
            rows.append(html.tag("tr", "".join(html.tag("td", html.text(cell)) for cell in cells)))
        html.draw([html.tag("table", "".join(rows), classes="mf-history")])


def _save(
    session: Session,
    study_instance_uid: str,
    subject: str | None,
    verdict: Verdict,
    comment_key: str,
    weights_sha256: str,
) -> None:
    """Keep the decision; what was typed is cleared only once it is kept."""
    comment = str(st.session_state.get(comment_key, ""))
    if session.decide(study_instance_uid, subject, verdict, comment=comment, weights_sha256=weights_sha256):
        st.session_state[comment_key] = ""


def _standing(study_instance_uid: str, subject: str | None, standing: Review | None) -> None:
    notice = state.notice(study_instance_uid, subject)
    parts = []
    if notice:
        parts.append(html.tag("b", html.text(notice.text), classes="mf-saved" if notice.saved else "mf-failed"))
    if standing:
        said = f"{WORDS[standing.verdict]} by {standing.reviewer}, {_clock(standing, '%d %b %H:%M')}"
        parts.append(html.tag("span", html.text(said), classes=f"mf-verdict-{WORDS[standing.verdict]}"))
        if standing.comment:
            parts.append(html.tag("q", html.text(standing.comment)))
    if parts:
        html.draw([html.tag("div", " ".join(parts), classes="mf-standing")])


def _clock(review: Review, form: str) -> str:
    """The time of a review on this machine's clock."""
    try:
        return datetime.fromisoformat(review.created_at).astimezone().strftime(form)
    except ValueError:
        return review.created_at
