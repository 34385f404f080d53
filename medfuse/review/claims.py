"""Who has taken which study, so that two readers do not read the same one without knowing.

A claim ends by itself, so that a closed browser blocks nothing. It is no lock: a decision is kept whoever holds the
claim, since losing what a reader decided would be worse than deciding twice.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, insert, select

from medfuse.review.schema import CLAIMS

CLAIM_MINUTES = 20
"""How long a claim holds that nobody renews."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who holds a study.

    Args:
        by: The reader who does.
        until: When it ends unless it is renewed, ISO 8601, UTC.
        is_mine: Whether the one who asked holds it.
    """

    by: str
    until: str
    is_mine: bool


def claim(
    connection: Connection, study_instance_uid: str, reader: str, now: float, *, shared: bool, take_over: bool
) -> Claim:
    """Take a study, or renew; gives who holds it then.

    Args:
        connection: In a writing transaction.
        study_instance_uid: Which study.
        reader: Who asks.
        now: Seconds since 1970.
        shared: Whether several readers may hold it at once (double reading).
        take_over: Whether another reader's claim is ended.
    """
    of_study = CLAIMS.c.study_instance_uid == study_instance_uid
    connection.execute(delete(CLAIMS).where(of_study, CLAIMS.c.expires_at <= now))
    if not shared:
        others = select(CLAIMS).where(of_study, CLAIMS.c.reviewer != reader)
        other = connection.execute(others.order_by(CLAIMS.c.expires_at.desc())).first()
        if other is not None and not take_over:
            return Claim(by=other.reviewer, until=_clock(other.expires_at), is_mine=False)
        connection.execute(delete(CLAIMS).where(of_study, CLAIMS.c.reviewer != reader))
    until = now + 60 * CLAIM_MINUTES
    connection.execute(delete(CLAIMS).where(of_study, CLAIMS.c.reviewer == reader))
    row = {"study_instance_uid": study_instance_uid, "reviewer": reader, "expires_at": until}
    connection.execute(insert(CLAIMS), row)
    return Claim(by=reader, until=_clock(until), is_mine=True)


def release(connection: Connection, study_instance_uid: str, reader: str) -> None:
    """Give a study back; does nothing where the reader does not hold it."""
    at = (CLAIMS.c.study_instance_uid == study_instance_uid) & (CLAIMS.c.reviewer == reader)
    connection.execute(delete(CLAIMS).where(at))


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
