"""Where reviews are kept: a chain of rows that is only ever added to, in SQLite or in PostgreSQL.

A review that `ReviewStore.add` returned from is on the disk (`database`). Triggers refuse UPDATE and DELETE, and each
row carries a hash over its content and the row before it (`chain`), which `medfuse audit` verifies. A retry with the
key of a first try gives back what was kept then and adds nothing. The rules of honest reading hold here, whatever a
screen does: after a sign-off a change needs a reason, and who has seen the model is no longer blind.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from medfuse.domain import Review, ReviewKind, Shown, SubjectKind, Verdict
from medfuse.errors import UsageError
from medfuse.review.chain import GENESIS, linked
from medfuse.review.database import BUSY_SECONDS, FILE_NAME, Database
from medfuse.review.readings import CaseStatus, Reading, has_seen_model, readings_of, standing_rows
from medfuse.review.schema import DECISIONS, READINGS, WORKLIST

__all__ = ["BUSY_SECONDS", "FILE_NAME", "AmendmentNeedsReasonError", "ReviewStore", "restate"]

_MOST_KEY_LENGTH = 80
_BEHIND_CHAIN = ("number", "previous_sha256", "sha256", "idempotency_key")
_RETRIED = ("created_at", "seconds")
_FURTHEST = (CaseStatus.AMENDED, CaseStatus.SIGNED, CaseStatus.STARTED)


class AmendmentNeedsReasonError(UsageError):
    """Something is to be changed after the sign-off, and nobody said why."""


class ReviewStore:
    """Every decision of every reader, in the order of arrival.

    One store may be shared by threads; several processes may open the same place.

    Args:
        place: A folder of results (the store is `reviews.sqlite` in it), a SQLite file, or a database URL.

    Raises:
        StorageError: The place cannot be opened or written.
        UsageError: The URL names no database that SQLAlchemy knows, or it is of a newer medfuse.
    """

    def __init__(self, place: str | Path) -> None:
        self.database = Database(place)
        self.place = self.database.place

    def add(self, review: Review, *, key: str = "") -> Review:
        """Keep one review; returns only after it is committed.

        Args:
            review: What was said; its `number` is given by the store.
            key: What a retry of the same save has in common with the first try and no other save has, e.g. a UUID;
                empty where nobody retries.

        Returns:
            The review as it was kept, by this call or by an earlier one with the same key.

        Raises:
            StorageError: It was not kept: the place is full, read-only, or busy for too long.
            AmendmentNeedsReasonError: The reader has signed the study off, and the review gives no reason.
            UsageError: It withdraws what is not there to withdraw, says it is blind after the model was seen, or the
                key belongs to another review.
        """
        if len(key) > _MOST_KEY_LENGTH:
            raise UsageError(f"a key has at most {_MOST_KEY_LENGTH} characters, found {len(key)}")
        with self.database.writing() as connection:
            kept = _kept(connection, key, review) if key else None
            return kept or self._append(connection, review, key)

    def kept(self, key: str) -> Review | None:
        """The review that was kept under a key; None for a key that is new or empty."""
        with self.database.reading() as connection:
            query = select(DECISIONS).where(DECISIONS.c.idempotency_key == key)
            row = connection.execute(query).mappings().first() if key else None
        return None if row is None else _review(row)

    def history(self, study_instance_uid: str) -> tuple[Review, ...]:
        """The reviews of one study, oldest first."""
        with self.database.reading() as connection:
            return _history(connection, study_instance_uid)

    def readings(self, study_instance_uid: str) -> dict[str, Reading]:
        """What stands on one study, by reviewer."""
        return readings_of(self.history(study_instance_uid))

    def reviews(self) -> Iterator[Review]:
        """Every review in the order of arrival."""
        with self.database.reading() as connection:
            for row in connection.execute(select(DECISIONS).order_by(DECISIONS.c.number)).mappings():
                yield _review(row)

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()

    def _append(self, connection: Connection, review: Review, key: str) -> Review:
        history = _history(connection, review.study_instance_uid)
        _check(review, [row for row in history if row.reviewer == review.reviewer])
        last = connection.execute(
            select(DECISIONS.c.number, DECISIONS.c.sha256).order_by(DECISIONS.c.number.desc()).limit(1)
        ).first()
        number, previous = (last.number, last.sha256) if last else (0, GENESIS)
        (row,) = linked([_content(review) | {"idempotency_key": key or None}], number, previous)
        connection.execute(insert(DECISIONS), row)
        restate(connection, review.study_instance_uid)
        return _review(row)


def _check(review: Review, own: list[Review]) -> None:
    """Hold the rules of honest reading.

    Args:
        review: What is to be kept.
        own: What the same reader said of the same study, oldest first.
    """
    standing = standing_rows(own)
    if review.kind is ReviewKind.WITHDRAWAL and review.withdraws not in {row.number for row in standing}:
        raise UsageError("there is nothing of this reader to withdraw any more; look at the history of the study")
    if review.shown is Shown.BLIND and has_seen_model(own):
        raise UsageError("this reader has seen the model's answer on this study, so the decision is not blind")
    changes = review.kind in (ReviewKind.DECISION, ReviewKind.WITHDRAWAL)
    is_signed = any(row.kind is ReviewKind.SIGN_OFF for row in standing)
    if changes and is_signed and not review.reason.strip():
        raise AmendmentNeedsReasonError("the study is signed off; say why it is changed, and it becomes an amendment")


def _kept(connection: Connection, key: str, review: Review) -> Review | None:
    """What an earlier try with this key kept; None for the first try."""
    row = connection.execute(select(DECISIONS).where(DECISIONS.c.idempotency_key == key)).mappings().first()
    if row is None:
        return None
    told = {name: value for name, value in _content(review).items() if name not in _RETRIED}
    if any(row[name] != value for name, value in told.items()):
        raise UsageError("this key belongs to another decision that was saved already; give each decision its own")
    return _review(row)


def restate(connection: Connection, study_instance_uid: str) -> None:
    """Say again in the worklist where the review of a study stands, from its decisions."""
    history = _history(connection, study_instance_uid)
    readings = readings_of(history)
    connection.execute(delete(READINGS).where(READINGS.c.study_instance_uid == study_instance_uid))
    if not readings:
        return
    connection.execute(insert(READINGS), [_reading_row(study_instance_uid, reading) for reading in readings.values()])
    statuses = {reading.status for reading in readings.values()}
    furthest = next((status for status in _FURTHEST if status in statuses), None)
    here = WORKLIST.c.study_instance_uid == study_instance_uid
    if furthest is None:
        reason = connection.execute(select(WORKLIST.c.reason).where(here)).scalar()
        furthest = CaseStatus.NO_RESULT if reason else CaseStatus.OPEN
    connection.execute(update(WORKLIST).where(here).values(status=furthest.value, decided_at=history[-1].created_at))


def _reading_row(study_instance_uid: str, reading: Reading) -> dict[str, Any]:
    return {
        "study_instance_uid": study_instance_uid,
        "reviewer": reading.reviewer,
        "status": reading.status.value,
        "decided_at": reading.decided_at,
        "seconds": reading.seconds,
    }


def _history(connection: Connection, study_instance_uid: str) -> tuple[Review, ...]:
    query = select(DECISIONS).where(DECISIONS.c.study_instance_uid == study_instance_uid).order_by(DECISIONS.c.number)
    return tuple(_review(row) for row in connection.execute(query).mappings())


def _content(review: Review) -> dict[str, Any]:
    """A review as a row, without its place in the chain; text as every database can keep it."""
    seconds = None if review.seconds is None else max(0.0, float(review.seconds))
    fields = dataclasses.asdict(review) | {"verdict": review.verdict or "", "seconds": seconds}
    del fields["number"]
    return {name: _storable(value) if isinstance(value, str) else value for name, value in fields.items()}


def _storable(text: str) -> str:
    """`text` without what no database keeps: NUL, and halves of surrogate pairs."""
    return str(text).replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _review(row: Mapping[str, Any] | RowMapping) -> Review:
    fields: dict[str, Any] = {str(name): value for name, value in row.items() if name not in _BEHIND_CHAIN}
    return Review(
        **fields
        | {
            "number": row["number"],
            "verdict": Verdict(row["verdict"]) if row["verdict"] else None,
            "kind": ReviewKind(row["kind"]),
            "subject_kind": SubjectKind(row["subject_kind"]),
            "shown": Shown(row["shown"]),
        }
    )
