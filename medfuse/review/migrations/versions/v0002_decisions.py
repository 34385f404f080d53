"""Reviews become decisions in a hash chain, with the index of the worklist beside them.

Every review of before is copied into the chain in its order; its table stays as it was and takes no more rows, so that
a program of the older version that is still running says so instead of writing where nobody looks.
"""

import sqlalchemy as sa
from alembic import op

from medfuse.review.chain import linked

revision = "0002"
down_revision = "0001"

_SQLITE = (
    *(
        f"CREATE TRIGGER IF NOT EXISTS decisions_no_{verb.lower()} BEFORE {verb} ON decisions "
        "BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    *(
        f"CREATE TRIGGER IF NOT EXISTS reviews_no_{verb.lower()} BEFORE {verb} ON reviews "
        f"BEGIN SELECT RAISE(ABORT, '{why}'); END"
        for verb, why in (
            ("UPDATE", "reviews are append-only"),
            ("DELETE", "reviews are append-only"),
            ("INSERT", "these reviews moved to the table decisions; update medfuse"),
        )
    ),
)

_POSTGRESQL = (
    "CREATE OR REPLACE FUNCTION medfuse_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION '% are append-only', TG_TABLE_NAME; END $$",
    "CREATE TRIGGER decisions_no_change BEFORE UPDATE OR DELETE ON decisions "
    "FOR EACH ROW EXECUTE FUNCTION medfuse_refuse()",
    "CREATE TRIGGER decisions_no_truncate BEFORE TRUNCATE ON decisions "
    "FOR EACH STATEMENT EXECUTE FUNCTION medfuse_refuse()",
    "CREATE TRIGGER reviews_no_change BEFORE INSERT OR UPDATE OR DELETE ON reviews "
    "FOR EACH ROW EXECUTE FUNCTION medfuse_refuse()",
    "CREATE TRIGGER reviews_no_truncate BEFORE TRUNCATE ON reviews "
    "FOR EACH STATEMENT EXECUTE FUNCTION medfuse_refuse()",
)


def upgrade() -> None:
    """Make the tables, copy the reviews, and shut the old table."""
    connection = op.get_bind()
    _create_decisions()
    _create_worklist()
    _create_details()
    _create_memberships()
    _create_work()
    decisions = sa.Table("decisions", sa.MetaData(), autoload_with=connection)
    reviews = sa.Table("reviews", sa.MetaData(), autoload_with=connection)
    rows = connection.execute(sa.select(reviews).order_by(reviews.c.id)).mappings().all()
    copies = list(linked(_content(row) for row in rows))
    if copies:
        connection.execute(sa.insert(decisions), copies)
    _refuse_changes(connection)


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


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject_kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.Text, nullable=True),
        sa.Column("delineation", sa.Text, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("mask_sha256", sa.String(64), nullable=False),
        sa.Column("model_weights_sha256", sa.String(64), nullable=False),
        sa.Column("shown", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Double, nullable=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("withdraws", sa.Integer, nullable=True),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(40), nullable=False),
        sa.Column("idempotency_key", sa.String(80), nullable=True, unique=True),
        sa.Column("previous_sha256", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
    )
    op.create_index("decisions_by_reviewer", "decisions", ["reviewer", "number"])
    op.create_index("decisions_by_study", "decisions", ["study_instance_uid", "number"])


def _create_worklist() -> None:
    op.create_table(
        "worklist",
        sa.Column("study_instance_uid", sa.String(64), primary_key=True),
        sa.Column("handle", sa.String(32), nullable=False, unique=True),
        sa.Column("listed", sa.Boolean, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("patient_key", sa.String(32), nullable=False),
        sa.Column("accession_number", sa.Text, nullable=False),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("modalities", sa.Text, nullable=False),
        sa.Column("leading", sa.Text, nullable=False),
        sa.Column("highest", sa.Double, nullable=False),
        sa.Column("uncertainty", sa.Double, nullable=False),
        sa.Column("priority", sa.Double, nullable=False),
        sa.Column("priority_reason", sa.Text, nullable=False),
        sa.Column("n_delineations", sa.Integer, nullable=False),
        sa.Column("scored_at", sa.String(40), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("decided_at", sa.String(40), nullable=False),
    )
    op.create_index("worklist_by_accession", "worklist", ["listed", "accession_number", "position"])
    op.create_index("worklist_by_decision", "worklist", ["listed", "decided_at", "position"])
    op.create_index("worklist_by_highest", "worklist", ["listed", "highest", "position"])
    op.create_index("worklist_by_patient", "worklist", ["patient_key"])
    op.create_index("worklist_by_position", "worklist", ["listed", "position"])
    op.create_index("worklist_by_priority", "worklist", ["listed", "priority", "position"])
    op.create_index("worklist_by_status", "worklist", ["listed", "status", "position"])
    op.create_index("worklist_by_uncertainty", "worklist", ["listed", "uncertainty", "position"])


def _create_details() -> None:
    op.create_table(
        "worklist_findings",
        sa.Column(
            "study_instance_uid",
            sa.String(64),
            sa.ForeignKey("worklist.study_instance_uid", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("finding", sa.Text, primary_key=True),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("operating_point", sa.Double, nullable=True),
        sa.Column("unsure", sa.Boolean, nullable=False),
    )
    op.create_index("worklist_findings_by_doubt", "worklist_findings", ["unsure", "study_instance_uid"])
    op.create_index(
        "worklist_findings_by_probability", "worklist_findings", ["finding", "probability", "study_instance_uid"]
    )
    op.create_table(
        "worklist_flags",
        sa.Column(
            "study_instance_uid",
            sa.String(64),
            sa.ForeignKey("worklist.study_instance_uid", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("flag", sa.String(64), primary_key=True),
    )
    op.create_index("worklist_flags_by_flag", "worklist_flags", ["flag"])


def _create_memberships() -> None:
    op.create_table(
        "worklist_measures",
        sa.Column(
            "study_instance_uid",
            sa.String(64),
            sa.ForeignKey("worklist.study_instance_uid", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("quantity", sa.Text, primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("value", sa.Double, nullable=False),
    )
    op.create_table(
        "worklist_projects",
        sa.Column(
            "study_instance_uid",
            sa.String(64),
            sa.ForeignKey("worklist.study_instance_uid", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("project", sa.Text, primary_key=True),
    )
    op.create_index("worklist_projects_by_project", "worklist_projects", ["project"])


def _create_work() -> None:
    op.create_table(
        "readings",
        sa.Column("study_instance_uid", sa.String(64), primary_key=True),
        sa.Column("reviewer", sa.Text, primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("decided_at", sa.String(40), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
    )
    op.create_index("readings_by_reviewer", "readings", ["reviewer", "status"])
    op.create_table(
        "claims",
        sa.Column("study_instance_uid", sa.String(64), primary_key=True),
        sa.Column("reviewer", sa.Text, primary_key=True),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def _refuse_changes(connection: sa.Connection) -> None:
    """Make the database refuse UPDATE, DELETE and TRUNCATE of decisions, whoever asks; and new rows of `reviews`."""
    statements = _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL
    for statement in statements:
        connection.execute(sa.text(statement))
