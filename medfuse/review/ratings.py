"""What each rater says of each finding of each study, the model among them: what agreement is counted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from medfuse.domain import LabelValue, Review, ReviewKind, SubjectKind, Verdict
from medfuse.review.readings import Reading, has_seen_model, known_kind, readings_of, standing_rows
from medfuse.review.schema import FINDINGS, WORKLIST

if TYPE_CHECKING:
    from medfuse.review.room import ReadingRoom

MODEL = "model"
"""Name of the model among the raters."""

_ASSUMED_POINT = 0.5
_RATED = (LabelValue.PRESENT, LabelValue.ABSENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What the raters say of one finding of one study.

    Args:
        handle: What names the study in a URL.
        title: What a person calls it.
        patient: What is drawn together when intervals are made: the patient, or the study where patients are unknown.
        finding: Which finding.
        values: Rater -> PRESENT, ABSENT or UNCERTAIN.
        decided_at: When the last reader decided, ISO 8601.
        was_blind: Readers who decided before they saw the model.
    """

    handle: str
    title: str
    patient: str
    finding: str
    values: Mapping[str, LabelValue]
    decided_at: str = ""
    was_blind: frozenset[str] = field(default_factory=frozenset)


def ratings_of(
    room: "ReadingRoom", reached: Mapping[str, str], *, only: str | None = None, seen_by: str | None = None
) -> tuple[Rating, ...]:
    """The ratings of every study that somebody has decided on.

    Args:
        room: The review.
        reached: Handle -> title of the studies that may be looked at.
        only: The one reader whose decisions count; None for all.
        seen_by: Only studies whose answer this reader has seen, or that the reader has signed off; None for all.
    """
    with room.store.database.reading() as connection:
        studies = {row.study_instance_uid: row for row in connection.execute(select(WORKLIST)) if row.handle in reached}
        calls: dict[str, dict[str, LabelValue]] = {}
        for row in connection.execute(select(FINDINGS)):
            calls.setdefault(row.study_instance_uid, {})[row.finding] = model_call(row.probability, row.operating_point)
    said: dict[str, list[Review]] = {}
    for review in room.store.reviews():
        if review.study_instance_uid in studies and only in (None, review.reviewer):
            said.setdefault(review.study_instance_uid, []).append(known_kind(review, room.segments))
    ratings = []
    for uid, history in said.items():
        if seen_by is not None and not _is_open_to(seen_by, history):
            continue
        row = studies[uid]
        for finding, values in _values(readings_of(history), calls.get(uid, {})).items():
            ratings.append(
                Rating(
                    handle=row.handle,
                    title=reached[row.handle],
                    patient=row.patient_key or uid,
                    finding=finding,
                    values=values,
                    decided_at=history[-1].created_at,
                    was_blind=frozenset(name for name, one in readings_of(history).items() if one.was_blind),
                )
            )
    return tuple(ratings)


def model_call(probability: float, operating_point: float | None) -> LabelValue:
    """The model's word on a finding: present from its operating point on, or from one half without one."""
    point = _ASSUMED_POINT if operating_point is None else operating_point
    return LabelValue.PRESENT if probability >= point else LabelValue.ABSENT


def reader_value(review: Review, call: LabelValue | None) -> LabelValue | None:
    """What a reader holds to be right about a finding; None where it cannot be told.

    A value that the reader gave counts as it stands. A verdict alone takes the model's call as right or wrong.

    Args:
        review: A standing decision on a finding.
        call: What the model said; None without a model.
    """
    if review.value:
        return LabelValue(review.value)
    if review.verdict is Verdict.UNSURE:
        return LabelValue.UNCERTAIN
    if review.verdict is None or call is None:
        return None
    if review.verdict is Verdict.ACCEPTED:
        return call
    return LabelValue.ABSENT if call is LabelValue.PRESENT else LabelValue.PRESENT


def _values(readings: Mapping[str, Reading], calls: Mapping[str, LabelValue]) -> dict[str, dict[str, LabelValue]]:
    """Finding -> rater -> value, of the findings that a reader decided on."""
    found: dict[str, dict[str, LabelValue]] = {}
    for reviewer, reading in readings.items():
        for subject, review in reading.decisions.items():
            if subject.kind is SubjectKind.FINDING:
                value = reader_value(review, calls.get(subject.name))
                if value is not None:
                    found.setdefault(subject.name, {})[reviewer] = value
    for finding, values in found.items():
        if finding in calls:
            values[MODEL] = calls[finding]
    return found


def _is_open_to(reader: str, history: Sequence[Review]) -> bool:
    """Whether a reader who decides blind may know by now what the model says of a study."""
    own = [review for review in history if review.reviewer == reader]
    return has_seen_model(own) or any(review.kind is ReviewKind.SIGN_OFF for review in standing_rows(own))
