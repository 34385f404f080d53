"""A review as one reader sees and changes it: the only door for a dashboard, so that every question has its asker.

A study outside the reader's projects answers like one that does not exist. What is hidden while a reader decides blind
is not handed out at all, and once it was, no later decision counts as blind.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from medfuse.domain import (
    LabelValue,
    Prediction,
    Review,
    ReviewKind,
    Segment,
    Segmentation,
    Shown,
    Subject,
    SubjectKind,
    TargetKind,
    Verdict,
)
from medfuse.errors import MedfuseError, UsageError
from medfuse.review import pages
from medfuse.review.access import AccessError, Reader, Role, Sight
from medfuse.review.agreement import Agreement, agreement_of
from medfuse.review.cases import Case, corrections_of, visible_history
from medfuse.review.claims import Claim, claim, release
from medfuse.review.drift import DriftRow, drift_of
from medfuse.review.pages import NO_STUDY, Asker, Choices, Order, Page, WorklistFilter, WorklistRow
from medfuse.review.ratings import ratings_of
from medfuse.review.readings import has_seen_model, known_kind, readings_of, standing_rows
from medfuse.review.schema import PROJECTS, WORKLIST

if TYPE_CHECKING:
    from medfuse.review.room import ReadingRoom

MOST_COMMENT_LENGTH = 10_000
"""Characters that a comment or a reason may have."""

MOST_ROWS = 500
"""Rows that one page may have."""

_VALUES = (LabelValue.PRESENT, LabelValue.ABSENT, LabelValue.UNCERTAIN)
_EVERYTHING = WorklistFilter()


class Desk:
    """One reader's place in a review; cheap to make.

    Args:
        room: The review.
        reader: Who sits here.
    """

    def __init__(self, room: "ReadingRoom", reader: Reader) -> None:
        self.room, self.reader = room, reader

    def page(
        self,
        shown: WorklistFilter = _EVERYTHING,
        order: Order = Order.TRIAGE,
        *,
        descending: bool | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> Page:
        """A stretch of the worklist.

        Args:
            shown: What is let through.
            order: What it is sorted by.
            descending: The direction; the one that suits the order when left out.
            offset: Rows to pass over.
            limit: Most rows, up to `MOST_ROWS`.

        Raises:
            StorageError: The database cannot be read.
        """
        with self.room.store.database.reading() as connection:
            return pages.page(
                connection,
                self._asker(),
                shown,
                order,
                descending=descending,
                offset=offset,
                limit=min(limit, MOST_ROWS),
            )

    def neighbours(
        self,
        handle: str,
        shown: WorklistFilter = _EVERYTHING,
        order: Order = Order.TRIAGE,
        *,
        descending: bool | None = None,
    ) -> tuple[str | None, str | None]:
        """The handles before and behind one in the worklist; None at the ends, and for one that it does not show."""
        with self.room.store.database.reading() as connection:
            listed = pages.handles(connection, self._asker(), shown, order, descending)
        if handle not in listed:
            return None, None
        place = listed.index(handle)
        before = listed[place - 1] if place else None
        behind = listed[place + 1] if place + 1 < len(listed) else None
        return before, behind

    def next_open(self, shown: WorklistFilter = _EVERYTHING, order: Order = Order.TRIAGE) -> str | None:
        """The first study that this reader has not signed off and nobody else has claimed; None when all is done."""
        with self.room.store.database.reading() as connection:
            return pages.next_open(connection, self._asker(), shown, order)

    def choices(self) -> Choices:
        """What the filters can be set to."""
        with self.room.store.database.reading() as connection:
            return pages.choices(connection, self._asker())

    def claim(self, handle: str, *, take_over: bool = False) -> Claim:
        """Take a study, or renew the claim on it; the answer says who holds it.

        Args:
            handle: Which study.
            take_over: Whether another reader's claim is ended; for leads and admins.

        Raises:
            AccessError: There is no such study for this reader, or the reader may not take over.
        """
        if take_over and not self.reader.may_take_over:
            raise AccessError("only a lead or an admin may take over a study that somebody else has claimed")
        uid, now = self._uid(handle), time.time()
        with self.room.store.database.writing() as connection:
            shared = self._is_read_double(connection, uid)
            return claim(connection, uid, self.reader.name, now, shared=shared, take_over=take_over)

    def release(self, handle: str) -> None:
        """Give a study back.

        Raises:
            AccessError: There is no such study for this reader.
        """
        uid = self._uid(handle)
        with self.room.store.database.writing() as connection:
            release(connection, uid, self.reader.name)

    def case(self, handle: str, *, blind: bool = False) -> Case:
        """Open a study.

        Args:
            handle: Which study.
            blind: Whether the model's answer is hidden until `reveal`, also where no project asks for it.

        Raises:
            AccessError: There is no such study for this reader.
        """
        uid = self._uid(handle)
        history = tuple(known_kind(review, self.room.segments) for review in self.room.store.history(uid))
        own = [review for review in history if review.reviewer == self.reader.name]
        hidden = (blind or self._is_blind()) and not has_seen_model(own)
        seen = visible_history(history, self.reader.name, sees_others=not hidden and self._sees_others_of(own))
        prediction, problem = self._prediction(uid)
        readings = readings_of(seen)
        with self.room.store.database.reading() as connection:
            (row,) = pages.rows_of(connection, self._asker(blind=hidden), WORKLIST.c.study_instance_uid == uid)
        return Case(
            handle=handle,
            title=row.title,
            row=row,
            prediction=None if hidden else prediction,
            problem=problem,
            segmentation=None if hidden or row.reason else self.room.segmentation(uid),
            is_blind=hidden and prediction is not None,
            corrections=corrections_of(readings, self.room.masks.path),
            readings=readings,
            history=seen,
            open_study=lambda: self.room.study(uid),
        )

    def priors(self, handle: str) -> tuple[WorklistRow, ...]:
        """Other studies of the same patient that this reader reaches, newest first; none where patients are unknown.

        Raises:
            AccessError: There is no such study for this reader.
        """
        uid = self._uid(handle)
        with self.room.store.database.reading() as connection:
            here = select(WORKLIST.c.patient_key).where(WORKLIST.c.study_instance_uid == uid)
            patient = connection.execute(here).scalar()
            if not patient:
                return ()
            others = (WORKLIST.c.patient_key == patient) & (WORKLIST.c.study_instance_uid != uid)
            return pages.rows_of(connection, self._asker(), others)

    def decide(
        self,
        handle: str,
        subject: Subject,
        verdict: Verdict | None,
        *,
        value: str = "",
        comment: str = "",
        mask: str = "",
        shown: Shown = Shown.REVEALED,
        seconds: float | None = None,
        reason: str = "",
        key: str = "",
    ) -> Review:
        """Keep a decision; it is on the disk when this returns.

        Args:
            handle: Which study.
            subject: What it is about. A finding that the model does not know may be named: one that it missed.
            verdict: On what is shown; None for a value that is given blind, or a comment alone.
            value: What the reader holds to be right: PRESENT, ABSENT or UNCERTAIN; a target's class or number.
            comment: Free text.
            mask: Hash of a corrected segmentation, as `save_segmentation` gave it.
            shown: What was on the screen.
            seconds: Time on the study since the last decision.
            reason: Why something is changed after the own sign-off.
            key: What tells this save from others, and not from its retries.

        Raises:
            AccessError: There is no such study for this reader.
            UsageError: The value is none of the subject's, the mask is not kept, or the store's rules are broken.
            StorageError: It was not kept.
        """
        self._check_value(subject, value)
        if mask:
            self.room.masks.path(mask)
        if verdict is None and not (value or comment.strip() or mask):
            raise UsageError("a decision needs a verdict, a value, a comment or a corrected segmentation")
        return self._add(
            handle,
            key=key,
            subject=subject.name or None,
            subject_kind=subject.kind,
            delineation=subject.delineation,
            verdict=verdict,
            value=value,
            comment=_text(comment),
            mask_sha256=mask,
            shown=shown,
            seconds=_seconds(seconds),
            reason=_text(reason),
        )

    def undo(self, handle: str, *, reason: str = "", shown: Shown = Shown.UNKNOWN, key: str = "") -> Review | None:
        """Withdraw the newest decision or sign-off of this reader that stands; None when there is none.

        Raises:
            AccessError: There is no such study for this reader.
            AmendmentNeedsReasonError: The study is signed off, and no reason is given.
            StorageError: It was not kept.
        """
        uid = self._uid(handle)
        done = self.room.store.kept(key)
        if done and (done.kind, done.study_instance_uid, done.reviewer) == (
            ReviewKind.WITHDRAWAL,
            uid,
            self.reader.name,
        ):
            return done
        history = self.room.store.history(uid)
        own = [review for review in standing_rows(history) if review.reviewer == self.reader.name]
        if not own:
            return None
        last = own[-1]
        return self._add(
            handle,
            key=key,
            kind=ReviewKind.WITHDRAWAL,
            withdraws=last.number,
            subject=last.subject,
            subject_kind=last.subject_kind,
            delineation=last.delineation,
            shown=shown,
            reason=_text(reason),
        )

    def sign_off(
        self,
        handle: str,
        *,
        comment: str = "",
        seconds: float | None = None,
        shown: Shown = Shown.REVEALED,
        key: str = "",
    ) -> Review:
        """End this reader's reading of a study; changes need a reason from now on.

        Raises:
            AccessError: There is no such study for this reader.
            StorageError: It was not kept.
        """
        fields = {"comment": _text(comment), "seconds": _seconds(seconds), "shown": shown}
        return self._add(handle, key=key, kind=ReviewKind.SIGN_OFF, **fields)

    def reveal(self, handle: str, *, key: str = "") -> Review:
        """Show the model's answer to a reader who decided blind; it is kept that it was shown, and when.

        Raises:
            AccessError: There is no such study for this reader.
            StorageError: It was not kept.
        """
        return self._add(handle, key=key, kind=ReviewKind.REVEAL, shown=Shown.REVEALED)

    def save_segmentation(
        self, handle: str, label_map: NDArray[np.uint8], series_key: str, segments: Sequence[Segment]
    ) -> str:
        """Keep a corrected segmentation as a file of its own; what it corrects stays as it is.

        Args:
            handle: Which study.
            label_map: `(i, j, k)`, on the grid of the series as `medfuse.ingest.read_volume` gives it.
            series_key: Which series it was drawn on.
            segments: The regions, each with how it was made.

        Returns:
            The hash of the file, for `decide`.

        Raises:
            AccessError: There is no such study for this reader.
            UsageError: The series is not one of the study, or the label map does not fill its grid.
            StorageError: It could not be written.
        """
        from medfuse.ingest import read_volume

        uid = self._uid(handle)
        series = next((one for one in self.room.study(uid).series if one.key == series_key), None)
        if series is None:
            raise UsageError("the study has no such series; draw on one that it has")
        geometry = read_volume(series, fill_gaps=True).geometry
        try:
            segmentation = Segmentation(label_map=label_map, geometry=geometry, segments=tuple(segments))
        except ValueError as error:
            raise UsageError(f"the segmentation cannot be kept: {error}") from error
        prediction, _ = self._prediction(uid)
        return self.room.masks.save(
            segmentation,
            series,
            reviewer=self.reader.name,
            predecessor=self.room.model_seg(uid),
            model=prediction.model if prediction else None,
        )

    def agreement(
        self, *, since: str | None = None, until: str | None = None, window: str = "", draws: int = 1000
    ) -> Agreement:
        """How readers agree with the model and with each other.

        A reader without the role of a lead sees only how the own decisions agree with the model. Who reads blind sees
        only studies that are revealed or signed off.

        Args:
            since: First day, ISO 8601; None for the first decision.
            until: Last day; None for the last decision.
            window: `month` or `week` for figures over time as well; empty for the whole span alone.
            draws: Bootstrap resamples behind each interval.
        """
        with self.room.store.database.reading() as connection:
            reached = pages.titles(connection, self._asker())
        is_head = self.reader.may_see_agreement and not self.room.policy.is_local
        ratings = ratings_of(
            self.room,
            reached,
            only=None if self.reader.may_see_agreement else self.reader.name,
            seen_by=self.reader.name if self._is_blind() and not is_head else None,
        )
        return agreement_of(ratings, since=since, until=until, window=window, draws=draws)

    def drift(self, *, windows: str = "month") -> tuple[DriftRow, ...]:
        """Whether inputs and outputs are still what they were, in windows of the time of scoring.

        Raises:
            AccessError: The reader is neither a lead nor an admin.
        """
        if not self.reader.may_see_agreement:
            raise AccessError("only a lead or an admin sees how inputs and outputs change over time")
        with self.room.store.database.reading() as connection:
            return drift_of(connection, self._asker(), windows)

    def _add(self, handle: str, *, key: str, kind: ReviewKind = ReviewKind.DECISION, **fields: Any) -> Review:
        uid = self._uid(handle)
        if uid.startswith(NO_STUDY):
            raise UsageError("these files belong to no study, so there is nothing to decide on")
        prediction, _ = self._prediction(uid)
        review = Review(
            study_instance_uid=uid,
            kind=kind,
            reviewer=self.reader.name,
            model_weights_sha256=prediction.model.weights_sha256 if prediction else "",
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            **fields,
        )
        return self.room.store.add(review, key=key)

    def _uid(self, handle: str) -> str:
        """The study behind a handle.

        Raises:
            AccessError: There is none for this reader.
        """
        query = select(WORKLIST.c.study_instance_uid).where(WORKLIST.c.handle == handle, pages.reach(self.reader))
        with self.room.store.database.reading() as connection:
            uid = connection.execute(query).scalar()
        if uid is None:
            raise AccessError("there is no such study")
        return str(uid)

    def _prediction(self, uid: str) -> tuple[Prediction | None, str]:
        """The model's answer, or None and why there is none."""
        with self.room.store.database.reading() as connection:
            here = select(WORKLIST.c.reason).where(WORKLIST.c.study_instance_uid == uid)
            reason = connection.execute(here).scalar()
        if reason:
            return None, f"This study was not scored: {reason}."
        try:
            return self.room.prediction(uid), ""
        except MedfuseError as error:
            return None, f"The prediction cannot be shown: {error}"

    def _asker(self, *, blind: bool | None = None) -> Asker:
        return Asker(
            reader=self.reader,
            now=time.time(),
            is_blind=self._is_blind() if blind is None else blind,
            sees_others=self._is_lead() or self.room.policy.sight is not Sight.NEVER,
        )

    def _is_lead(self) -> bool:
        return self.reader.role is not Role.READER

    def _is_blind(self) -> bool:
        """Whether the model's answers are hidden from this reader at first."""
        projects = self.room.policy.projects
        return self.room.policy.blind or any(projects[p].blind for p in self.reader.projects if p in projects)

    def _is_read_double(self, connection: Connection, uid: str) -> bool:
        """Whether a project of the study that this reader is in has several readers read each study."""
        of_study = select(PROJECTS.c.project).where(PROJECTS.c.study_instance_uid == uid)
        projects = [self.room.policy.projects.get(name) for name in connection.execute(of_study).scalars()]
        mine = [p for p in projects if p and (self.reader.reaches_everything or p.name in self.reader.projects)]
        return any(project.double_reading for project in mine)

    def _sees_others_of(self, own: Sequence[Review]) -> bool:
        """Whether this reader sees what others said of a study, having said `own` of it."""
        sight = self.room.policy.sight
        has_signed = any(review.kind is ReviewKind.SIGN_OFF for review in standing_rows(own))
        return self._is_lead() or sight is Sight.ALWAYS or (sight is Sight.AFTER_SIGN_OFF and has_signed)

    def _check_value(self, subject: Subject, value: str) -> None:
        target = next((t for t in self.room.targets if t.name == subject.name), None)
        if subject.kind is SubjectKind.TARGET and target is None:
            raise UsageError("the model has no such target; give one that it has")
        if not value:
            return
        if subject.kind is SubjectKind.FINDING and value not in _VALUES:
            raise UsageError(f"a finding is {', '.join(_VALUES)}, not {value[:40]!r}")
        if subject.kind in (SubjectKind.STUDY, SubjectKind.SEGMENT):
            raise UsageError("a whole study or a segment has no value; give a verdict, or save a segmentation")
        if target is not None and target.classes and value not in target.classes:
            raise UsageError(f"{target.name} is one of {', '.join(target.classes)}, not {value[:40]!r}")
        if target is not None and target.kind is TargetKind.NUMBER and not _is_number(value):
            raise UsageError(f"{target.name} is a number, not {value[:40]!r}")


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def _seconds(seconds: float | None) -> float | None:
    """A time that can be kept: not negative, not infinite."""
    return None if seconds is None or not isfinite(seconds) else max(0.0, seconds)


def _text(text: str) -> str:
    """Free text as it is kept.

    Raises:
        UsageError: It is too long.
    """
    if len(text) > MOST_COMMENT_LENGTH:
        raise UsageError(f"a comment has at most {MOST_COMMENT_LENGTH} characters, found {len(text)}; shorten it")
    return text.strip()
