"""Reviews become decisions in a hash chain, with the index of the worklist beside them.

Every review of before is copied into the chain in its order; its table stays as it was and takes no more rows, so that
a program of the older version that is still running says so instead of writing where nobody looks.
"""

import sqlalchemy as sa
from alembic import op

from medfuse.review.chain import linked
from medfuse.review.schema import DECISIONS, METADATA, refuse_changes

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables, copy the reviews, and shut the old table."""
    connection = op.get_bind()
    METADATA.create_all(connection)
    reviews = sa.Table("reviews", sa.MetaData(), autoload_with=connection)
    rows = connection.execute(sa.select(reviews).order_by(reviews.c.id)).mappings().all()
    copies = list(linked(_content(row) for row in rows))
    if copies:
        connection.execute(sa.insert(DECISIONS), copies)
    refuse_changes(connection)


def _content(row: sa.RowMapping) -> dict[str, str | float | None]:
    """A review as a decision; what it did not say is UNKNOWN."""
    return {
        "study_instance_uid": row["study_instance_uid"],
        "kind": "DECISION",
        "subject_kind": "STUDY" if row["subject"] is None else "UNKNOWN",
        "subject": row["subject"],
        "delineation": "",
        "verdict": row["verdict"],
        "value": "",
        "comment": row["comment"],
        "mask_sha256": "",
        "model_weights_sha256": row["model_weights_sha256"],
        "shown": "UNKNOWN",
        "seconds": None,
        "reason": "",
        "withdraws": None,
        "reviewer": row["reviewer"],
        "created_at": row["created_at"],
        "idempotency_key": None,
    }
