"""The images: a component of ours around NiiVue, fed once a series; scrolling and windowing never reach Python.

The `niivue-streamlit` package was tried first. Its `niivue_viewer` takes no window, no label colours, no outline and no
layout, and sends voxels as base64 in JSON. So its frontend serves here as the offline carrier of NiiVue alone
(`slices/niivue.js` takes the class out of it), and the component's page, toolbar and keys are ours. Streamlit's second
generation of components has no frame of its own; WebGL and the keys of a viewer are better kept in one.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import niivue_component  # type: ignore[import-untyped, unused-ignore]  # registers the frontend that carries NiiVue
import streamlit as st
import streamlit.components.v1 as components

from apps.viewer import pictures, state
from apps.viewer.panels import html
from apps.viewer.pictures import Mask, Picture
from apps.viewer.state import Session
from medfuse.domain import Review, Shown, Study, Subject, SubjectKind, Verdict
from medfuse.errors import MedfuseError, StorageError, UsageError
from medfuse.review import Case, SeriesChoice, WorklistRow, finding_segments, series_choices

_SLICES = components.declare_component("medfuse_slices", path=Path(__file__).with_name("slices"))
_HEIGHT = 640
_KEY = "slices"
_MOST_HEADER_BYTES = 1 << 16
_ALONE = "nothing beside it"

NIIVUE_CARRIER: str = niivue_component.__name__
"""The package that carries NiiVue."""


def show(session: Session, case: Case, study: Study | None, problem: str) -> None:
    """Draw the pane.

    Args:
        session: Where corrections go.
        case: The open case.
        study: The study on the disk, or None where it cannot be found.
        problem: Why there is no study; empty where there is one.
    """
    if study is None:
        html.notice("error", f"The images cannot be shown: {problem}")
        return
    choices = series_choices(study, case.prediction)
    if not choices:
        html.notice("info", "This study has no series that can be shown as a volume.")
        for line in study.problems:
            html.notice("warning", line)
        return
    _fragment(session, case.handle, study, choices)


@st.fragment
def _fragment(session: Session, handle: str, study: Study, choices: tuple[SeriesChoice, ...]) -> None:
    if state.takes_whole_page():
        st.rerun()
    case = session.desk.case(handle)
    with st.container(key="series", horizontal=True, gap="small"):  # always there, so that the frame below stays
        chosen = _chosen(choices, handle)
        beside = _beside(session, case, choices, chosen)
    try:
        with st.spinner("Reading the images …", show_time=True):
            shown = pictures.picture(state.shelf(), handle, chosen)
            other = _other(beside) if beside else None
            masks, problems = pictures.masks(state.shelf(), case, study, shown, session.room.segments)
    except (MedfuseError, OSError) as error:
        html.notice("error", f"This series cannot be shown: {error}")
        return
    _draw(session, case, chosen, shown, masks, beside, other)
    for line in (*shown.provenance, *problems):
        html.notice("info", line)


def _chosen(choices: tuple[SeriesChoice, ...], handle: str) -> SeriesChoice:
    """The series that the reader chose; the first one until then."""
    number = st.selectbox(
        "Series",
        range(len(choices)),
        format_func=lambda n: choices[n].label,
        key=f"series/{handle}",
        label_visibility="collapsed",
        disabled=len(choices) == 1,
    )
    return choices[number or 0]


Beside = tuple[str, SeriesChoice, str]
"""A series to show beside: the handle of its case, the series, and what a person calls it."""


def _beside(session: Session, case: Case, choices: tuple[SeriesChoice, ...], chosen: SeriesChoice) -> Beside | None:
    """What the reader chose to see beside: another series, or an earlier study of the same patient."""
    others = {f"beside: {one.label}": one for one in choices if one is not chosen}
    priors = {f"prior: {row.title}": row for row in session.desk.priors(case.handle)}
    name = st.selectbox(
        "Beside it",
        [_ALONE, *others, *priors],
        key=f"beside/{case.handle}",
        label_visibility="collapsed",
        disabled=not (others or priors),
    )
    if name in others:
        return case.handle, others[name], name
    return _prior(session, priors[name], name) if name in priors else None


def _prior(session: Session, row: WorklistRow, name: str) -> Beside | None:
    try:
        study = pictures.study_of(state.shelf(), session.desk.case(row.handle))
    except MedfuseError as error:
        html.notice("error", f"The prior study cannot be shown: {error}")
        return None
    choices = series_choices(study, None)
    if not choices:
        html.notice("info", "The prior study has no series that can be shown as a volume.")
        return None
    wanted = st.selectbox(
        "Series of the prior",
        range(len(choices)),
        format_func=lambda n: choices[n].label,
        key=f"prior/{row.handle}",
        label_visibility="collapsed",
    )
    return row.handle, choices[wanted or 0], name


def _other(beside: Beside) -> Picture:
    handle, choice, _ = beside
    return pictures.picture(state.shelf(), handle, choice)


def _draw(
    session: Session,
    case: Case,
    chosen: SeriesChoice,
    shown: Picture,
    masks: list[Mask],
    beside: Beside | None,
    other: Picture | None,
) -> None:
    findings = [finding.name for finding in case.prediction.findings] if case.prediction else session.room.findings
    places = finding_segments(findings, session.room.segments)
    images = [pictures.image_argument(shown, chosen.label, place="image")]
    if beside and other:
        is_same = beside[0] == case.handle
        images.append(pictures.image_argument(other, beside[2], place="beside", same_frame=is_same))
    drawable = pictures.label_set(session.room.segments, masks) if session.may_decide else ()
    _SLICES(
        case=case.handle,
        images=images,
        overlays=[pictures.overlay_argument(mask) for mask in masks],
        findings=[{"name": name, "segment": places.get(name)} for name in findings],
        edit={"segments": [pictures.segment_argument(segment) for segment in drawable]},
        answer=st.session_state.get("answer"),
        height=_HEIGHT,
        key=_KEY,
        default=None,
        on_change=lambda: _heard(session, case, chosen, shown, masks),
    )


def _heard(session: Session, case: Case, chosen: SeriesChoice, shown: Picture, masks: list[Mask]) -> None:
    """Keep the corrected segmentation that the viewer gave, and tell it what became of that."""
    given = st.session_state.get(_KEY)
    if not isinstance(given, bytes):
        return
    try:
        header, content = _parted(given)
    except UsageError as error:
        st.session_state["answer"] = {"token": "", "saved": False, "text": str(error)}
        return
    token = str(header.get("token", ""))
    try:
        of = next((mask for mask in masks if mask.id == header.get("of")), None)
        kept = _save(session, case, chosen, shown, of, masks, content)
    except (MedfuseError, OSError) as error:
        answer = {"token": token, "saved": False, "text": f"NOT saved: {error}"}
    else:
        answer = {"token": token, "saved": True, "text": "Saved", "overlay": kept}
        state.rerun_all()
    st.session_state["answer"] = answer


def _save(
    session: Session,
    case: Case,
    chosen: SeriesChoice,
    shown: Picture,
    of: Mask | None,
    masks: list[Mask],
    content: bytes,
) -> str:
    """The segmentation as a file, then a decision on each segment that is not what it was; gives the file's hash.

    Raises:
        MedfuseError: Something of it is not kept.
    """
    segments = of.segments if of else pictures.label_set(session.room.segments, masks)
    labels = pictures.drawn(content, shown, [segment.number for segment in segments])
    made = [replace(segment, algorithm_type="SEMIAUTOMATIC" if of else "MANUAL") for segment in segments]
    mask = session.desk.save_segmentation(case.handle, labels, chosen.series.key, made)
    before = pictures.drawn(of.labels, shown, [segment.number for segment in segments]) if of else None
    changed = [s for s in segments if before is None or ((labels == s.number) != (before == s.number)).any()]
    delineation = of.id if of and of.id != pictures.MODEL else ""
    for segment in changed or segments[:1]:
        _decide(session, case, Subject(kind=SubjectKind.SEGMENT, name=segment.name, delineation=delineation), mask)
    return mask


def _decide(session: Session, case: Case, subject: Subject, mask: str) -> None:
    def act(key: str, seconds: float) -> Review:
        return session.desk.decide(
            case.handle,
            subject,
            None if case.is_blind or not case.prediction else Verdict.REJECTED,
            mask=mask,
            shown=Shown.BLIND if case.is_blind else Shown.REVEALED,
            seconds=seconds,
            reason=state.reason_for(case.handle),
            key=key,
        )

    if not state.keep(case.handle, subject, act, content=mask):
        told = state.notice(case.handle, subject)
        raise StorageError(told.text if told else "the decision was not kept")


def _parted(given: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and content of what the component gave (`slices/streamlit.js`)."""
    length = int.from_bytes(given[:4], "little")
    if not 0 < length <= _MOST_HEADER_BYTES or len(given) < 4 + length:
        raise UsageError("the viewer sent something that is no segmentation; save it again")
    try:
        header = json.loads(given[4 : 4 + length])
    except ValueError as error:
        raise UsageError("the viewer sent something that is no segmentation; save it again") from error
    if not isinstance(header, dict):
        raise UsageError("the viewer sent something that is no segmentation; save it again")
    return header, given[4 + length :]
