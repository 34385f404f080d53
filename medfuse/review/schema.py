"""The tables. `decisions` is the record, append-only; every other table can be made again from it and the files.

decisions           what readers said, one row each, in the order of arrival
worklist            one row a study: what the model said, and where its review stands
worklist_findings   the probabilities, one row a study and finding
worklist_flags      what is odd about a study, one row a flag
worklist_measures   numbers of a study that drift is looked for in
worklist_projects   which projects a study belongs to
readings            where each reader's work on a study stands
claims              who has taken which study, and until when
settings            what the index was made of
"""

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData()


def _study(*, primary: bool = True) -> Column[str]:
    return Column(
        "study_instance_uid",
        String(64),
        ForeignKey("worklist.study_instance_uid", ondelete="CASCADE"),
        primary_key=primary,
        nullable=False,
    )


DECISIONS = Table(
    "decisions",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("study_instance_uid", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subject_kind", String(16), nullable=False),
    Column("subject", Text, nullable=True),
    Column("delineation", Text, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("value", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("mask_sha256", String(64), nullable=False),
    Column("model_weights_sha256", String(64), nullable=False),
    Column("shown", String(16), nullable=False),
    Column("seconds", Double, nullable=True),
    Column("reason", Text, nullable=False),
    Column("withdraws", Integer, nullable=True),
    Column("reviewer", Text, nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("idempotency_key", String(80), nullable=True, unique=True),
    Column("previous_sha256", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Index("decisions_by_study", "study_instance_uid", "number"),
    Index("decisions_by_reviewer", "reviewer", "number"),
)

WORKLIST = Table(
    "worklist",
    METADATA,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("handle", String(32), nullable=False, unique=True),
    Column("listed", Boolean, nullable=False),
    Column("position", Integer, nullable=False),
    Column("patient_key", String(32), nullable=False),
    Column("accession_number", Text, nullable=False),
    Column("search", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("modalities", Text, nullable=False),
    Column("leading", Text, nullable=False),
    Column("highest", Double, nullable=False),
    Column("uncertainty", Double, nullable=False),
    Column("priority", Double, nullable=False),
    Column("priority_reason", Text, nullable=False),
    Column("n_delineations", Integer, nullable=False),
    Column("scored_at", String(40), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("decided_at", String(40), nullable=False),
    Index("worklist_by_priority", "listed", "priority", "position"),
    Index("worklist_by_highest", "listed", "highest", "position"),
    Index("worklist_by_uncertainty", "listed", "uncertainty", "position"),
    Index("worklist_by_status", "listed", "status", "position"),
    Index("worklist_by_accession", "listed", "accession_number", "position"),
    Index("worklist_by_position", "listed", "position"),
    Index("worklist_by_decision", "listed", "decided_at", "position"),
    Index("worklist_by_patient", "patient_key"),
)

FINDINGS = Table(
    "worklist_findings",
    METADATA,
    _study(),
    Column("finding", Text, primary_key=True),
    Column("place", Integer, nullable=False),
    Column("probability", Double, nullable=False),
    Column("operating_point", Double, nullable=True),
    Column("unsure", Boolean, nullable=False),
    Index("worklist_findings_by_probability", "finding", "probability", "study_instance_uid"),
    Index("worklist_findings_by_doubt", "unsure", "study_instance_uid"),
)

FLAGS = Table(
    "worklist_flags",
    METADATA,
    _study(),
    Column("flag", String(64), primary_key=True),
    Index("worklist_flags_by_flag", "flag"),
)

MEASURES = Table(
    "worklist_measures",
    METADATA,
    _study(),
    Column("quantity", Text, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("value", Double, nullable=False),
)

PROJECTS = Table(
    "worklist_projects",
    METADATA,
    _study(),
    Column("project", Text, primary_key=True),
    Index("worklist_projects_by_project", "project"),
)

READINGS = Table(
    "readings",
    METADATA,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("reviewer", Text, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("decided_at", String(40), nullable=False),
    Column("seconds", Double, nullable=False),
    Index("readings_by_reviewer", "reviewer", "status"),
)

CLAIMS = Table(
    "claims",
    METADATA,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("reviewer", Text, primary_key=True),
    Column("expires_at", Double, nullable=False),
)

SETTINGS = Table(
    "settings",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
