"""A reader's decisions: one click saves one, with the value and the comment that stand beside it; then the sign-off."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import streamlit as st

from apps.viewer import state
from apps.viewer.panels import html, wording
from apps.viewer.state import Session
from medfuse.domain import (
    Finding,
    LabelValue,
    Review,
    ReviewKind,
    Shown,
    Subject,
    SubjectKind,
    TargetKind,
    TargetPrediction,
    Verdict,
)
from medfuse.review import Case, Reading, readable

AGREE, DISAGREE, UNSURE = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.UNSURE
WORDS = {AGREE: "agrees", DISAGREE: "disagrees", UNSURE: "unsure"}
_LABELS = {AGREE: "Agree", DISAGREE: "Disagree", UNSURE: "Unsure"}
_TIPS = {
    AGREE: "The model is right about the",
    DISAGREE: "The model is wrong about the",
    UNSURE: "Cannot tell about the",
}
_VALUES = (LabelValue.PRESENT, LabelValue.ABSENT, LabelValue.UNCERTAIN)
_AS_DECIDED = ""
_WHOLE = "whole"


def on_finding(session: Session, case: Case, subject: Subject, finding: Finding | None) -> None:
    """Agree, disagree or unsure with the reader's own value; without an answer on the screen the value alone."""
    words = readable(subject.name)
    if finding is None:
        _form(session, case, subject, words, values=_VALUES)
        return
    _form(session, case, subject, words, verdicts=tuple(_LABELS), values=_VALUES, finding=finding)


def on_target(session: Session, case: Case, subject: Subject, target: TargetPrediction) -> None:
    """The same for a class, a grade or a number."""
    classes = () if target.kind is TargetKind.NUMBER else target.classes
    _form(session, case, subject, readable(subject.name), verdicts=tuple(_LABELS), values=classes)


def on_segment(session: Session, case: Case, subject: Subject) -> None:
    """The same for an outline, which is corrected in the images."""
    _form(session, case, subject, f"outline of {readable(subject.name)}", verdicts=tuple(_LABELS))


def whole(session: Session, case: Case) -> None:
    """The sign-off, undo, revealing and the reason of an amendment, and everything that was said."""
    own = _own(session, case)
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="sign"):
        _ending(session, case, own)
    if own and own.signed:
        _line(f"reason/{case.handle}", "Reason for changing it after the sign-off", " (needed)")
    _line(f"comment/{case.handle}/{_WHOLE}", "Comment on the whole study", ", saved with the sign-off")
    _signed(session, case, own)
    history(case.history)


def _ending(session: Session, case: Case, own: Reading | None) -> None:
    """The buttons that end a reading, take something back, or show the model."""
    may, is_signed = session.may_decide, bool(own and own.signed)
    is_done = not may or (is_signed and not (own and own.is_amended))
    tip = "End the reading and open the next case" if may else _needs_name()
    ends: dict[str, Any] = {"disabled": is_done, "on_click": _sign_off}
    label = "Signed off" if is_signed else "Sign off, next"
    st.button(label, key="sign_next", type="primary", shortcut="S", help=tip, args=(session, case, True), **ends)
    st.button("Sign off, stay", key="sign_stay", args=(session, case, False), **ends)
    st.button("Undo", key="undo", shortcut="U", disabled=not (may and own), on_click=_undo, args=(session, case))
    if case.is_blind:
        shows = "Shows what the model says. It is kept that you saw it, and when." if may else _needs_name()
        st.button(
            "Reveal the model", key="reveal", disabled=not may, help=shows, on_click=_reveal, args=(session, case)
        )


def _line(key: str, label: str, more: str) -> None:
    st.text_input(label, key=key, placeholder=label + more, label_visibility="collapsed", max_chars=2000)


def history(reviews: Sequence[Review]) -> None:
    """Everything that was said, newest first."""
    with st.expander(f"History ({len(reviews)})"):
        if not reviews:
            st.caption("No decision yet.")
        rows = []
        for review in reversed(reviews):
            cells = (_clock(review.created_at, "%Y-%m-%d %H:%M:%S"), review.reviewer, _subject(review), _said(review))
            rows.append(html.tag("tr", "".join(html.tag("td", html.text(cell)) for cell in cells)))
        html.draw([html.tag("table", "".join(rows), classes="mf-history")])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What one form asks: about what, in which words, on which answer of the model, under which key."""

    subject: Subject
    words: str
    finding: Finding | None
    key: str


def _form(
    session: Session,
    case: Case,
    subject: Subject,
    words: str,
    *,
    verdicts: tuple[Verdict, ...] = (),
    values: Sequence[str] = (),
    finding: Finding | None = None,
) -> None:
    key = f"{case.handle}/{subject.kind.value}/{subject.name}"
    asked = _Question(subject=subject, words=words, finding=finding, key=key)
    standing = _standing_of(session, case, subject)
    row = st.form(f"form/{key}", border=False, enter_to_submit=False)
    with row, st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        for verdict in verdicts:
            _button(session, case, asked, standing, verdict=verdict)
        for value in () if verdicts else values:
            _button(session, case, asked, standing, value=value)
        if verdicts:
            _value(asked, values)
        st.text_input(
            f"Comment on the {words}",
            key=f"comment/{key}",
            placeholder="Comment",
            label_visibility="collapsed",
            max_chars=2000,
        )
    _told(session, case, subject, standing)


def _value(asked: _Question, values: Sequence[str]) -> None:
    """Where the right value is told, for a subject that has one: chosen among `values`, or a number."""
    label = f"Right value of the {asked.words}"
    if values:
        st.selectbox(
            label,
            [_AS_DECIDED, *values],
            key=f"value/{asked.key}",
            format_func=lambda value: readable(str(value).lower()) if value else "value",
            label_visibility="collapsed",
            width=98,
        )
    elif asked.subject.kind is SubjectKind.TARGET:
        st.text_input(label, key=f"value/{asked.key}", placeholder="value", label_visibility="collapsed", width=80)


def _button(
    session: Session,
    case: Case,
    asked: _Question,
    standing: Review | None,
    *,
    verdict: Verdict | None = None,
    value: str = "",
) -> None:
    """One button of a form: a verdict, or a value where there is nothing to agree with."""
    is_standing = standing is not None and (standing.verdict is verdict if verdict else standing.value == value)
    tip = f"{_TIPS[verdict]} {asked.words}" if verdict else f"{asked.words}: {value.lower()}"
    st.form_submit_button(
        _LABELS[verdict] if verdict else value.capitalize(),
        key=f"{verdict.value if verdict else value}/{asked.key}",
        help=tip if session.may_decide else _needs_name(),
        type="primary" if is_standing else "secondary",
        disabled=not session.may_decide,
        on_click=_save,
        args=(session, case, asked, verdict, value),
    )


def _save(session: Session, case: Case, asked: _Question, verdict: Verdict | None, value: str) -> None:
    """Keep the decision; what was typed is cleared only once it is kept."""
    comment = str(st.session_state.get(f"comment/{asked.key}", ""))
    chosen = str(st.session_state.get(f"value/{asked.key}", "") or "").strip()
    told = value or chosen or _implied(asked.finding, verdict)

    def act(token: str, seconds: float) -> Review:
        return session.desk.decide(
            case.handle,
            asked.subject,
            verdict,
            value=told,
            comment=comment,
            shown=_shown(case),
            seconds=seconds,
            reason=state.reason_for(case.handle),
            key=token,
        )

    if state.keep(case.handle, asked.subject, act, content=(verdict, told, comment)):
        st.session_state[f"comment/{asked.key}"] = ""
        if f"value/{asked.key}" in st.session_state:
            st.session_state[f"value/{asked.key}"] = _AS_DECIDED


def _implied(finding: Finding | None, verdict: Verdict | None) -> str:
    """What a verdict on a finding says of it: the model's word, the other one, or that it is uncertain."""
    if finding is None or verdict is None:
        return ""
    if verdict is UNSURE:
        return LabelValue.UNCERTAIN.value
    word = wording.call(finding)
    if word not in {"present", "absent"}:
        return ""
    is_present = (word == "present") is (verdict is AGREE)
    return (LabelValue.PRESENT if is_present else LabelValue.ABSENT).value


def _sign_off(session: Session, case: Case, go_on: bool) -> None:
    key = f"comment/{case.handle}/{_WHOLE}"
    comment = str(st.session_state.get(key, ""))

    def act(token: str, seconds: float) -> Review:
        return session.desk.sign_off(case.handle, comment=comment, seconds=seconds, shown=_shown(case), key=token)

    if not state.keep(case.handle, _WHOLE, act, content=("sign off", comment)):
        return
    st.session_state[key] = ""
    state.release(session, case.handle)
    if go_on:
        state.go_on(session)


def _undo(session: Session, case: Case) -> None:
    def act(token: str, _: float) -> Review | None:
        reason = state.reason_for(case.handle)
        return session.desk.undo(case.handle, reason=reason, shown=_shown(case), key=token)

    state.keep(case.handle, _WHOLE, act, content=("undo", len(case.history)))


def _reveal(session: Session, case: Case) -> None:
    state.keep(case.handle, _WHOLE, lambda token, _: session.desk.reveal(case.handle, key=token), content="reveal")
    state.rerun_all()


def _shown(case: Case) -> Shown:
    return Shown.BLIND if case.is_blind else Shown.REVEALED


def _own(session: Session, case: Case) -> Reading | None:
    return case.readings.get(session.reader.name)


def _standing_of(session: Session, case: Case, subject: Subject) -> Review | None:
    own = _own(session, case)
    return own.decisions.get(subject) if own else None


def _told(session: Session, case: Case, subject: Subject, standing: Review | None) -> None:
    """What became of the last click, what stands, and what other readers say."""
    parts = _notice(case, subject)
    if standing:
        parts.append(html.tag("span", html.text(f"{_said(standing)}, {_clock(standing.created_at, '%H:%M')}")))
    for name, reading in case.readings.items():
        other = reading.decisions.get(subject)
        if other and name != session.reader.name:
            parts.append(html.tag("span", html.text(f"{name}: {_said(other)}"), classes="mf-other"))
    if parts:
        html.draw([html.tag("div", " ".join(parts), classes="mf-standing")])


def _signed(session: Session, case: Case, own: Reading | None) -> None:
    parts = _notice(case, _WHOLE)
    if own and own.signed:
        line = f"Signed off {_clock(own.signed.created_at, '%d %b %H:%M')}" + (
            ", amended since" if own.is_amended else ""
        )
        parts.append(html.tag("span", html.text(line)))
    if own:
        how = ", read blind first" if own.was_blind else ""
        parts.append(html.tag("span", html.text(f"{_duration(own.seconds)} on this case{how}")))
    for name, reading in case.readings.items():
        if name != session.reader.name:
            parts.append(html.tag("span", html.text(f"{name}: {reading.status.value}"), classes="mf-other"))
    if parts:
        html.draw([html.tag("div", " ".join(parts), classes="mf-standing")])


def _notice(case: Case, subject: Subject | str) -> list[str]:
    told = state.notice(case.handle, subject)
    if not told:
        return []
    role = {"role": "status" if told.saved else "alert"}
    return [html.tag("b", html.text(told.text), classes="mf-saved" if told.saved else "mf-failed", attributes=role)]


def _said(review: Review) -> str:
    """What a review says, in a few words."""
    kinds = {
        ReviewKind.SIGN_OFF: "signed off",
        ReviewKind.WITHDRAWAL: "took it back",
        ReviewKind.REVEAL: "saw the model",
    }
    words = [kinds.get(review.kind, "")]
    words.append(WORDS[review.verdict] if review.verdict else "")
    words.append(readable(review.value.lower()))
    words.append("corrected the outline" if review.mask_sha256 else "")
    line = ", ".join(word for word in words if word)
    line += f" “{review.comment}”" if review.comment else ""
    return line + (f" (reason: {review.reason})" if review.reason else "")


def _subject(review: Review) -> str:
    return readable(review.subject) if review.subject else "whole study"


def _needs_name() -> str:
    return "Type your name at the top right first"


def _duration(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def _clock(created_at: str, form: str) -> str:
    """A time on this machine's clock."""
    try:
        return datetime.fromisoformat(created_at).astimezone().strftime(form)
    except ValueError:
        return created_at
