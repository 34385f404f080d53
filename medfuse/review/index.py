"""The index of the worklist: what each study shows in the list, kept in the database so that pages are queries.

Every row can be made again from the results and the decisions; what is lost with it are the handles, and links to
cases with them. A handle is random: nothing about a study follows from it, and none can be guessed.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from medfuse.domain import Finding
from medfuse.review.access import AccessPolicy
from medfuse.review.database import Database
from medfuse.review.readings import CaseStatus
from medfuse.review.schema import DECISIONS, FINDINGS, FLAGS, MEASURES, PROJECTS, READINGS, SETTINGS, WORKLIST
from medfuse.review.store import restate
from medfuse.review.triage import Triage, is_unsure

_CHUNK = 400
_HANDLE_BYTES = 12
_CHILDREN = (FINDINGS, FLAGS, MEASURES, PROJECTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """What a study shows in the worklist.

    Args:
        study_instance_uid: Which study.
        position: Its place in the order of scoring.
        patient_key: Pseudonym of the patient; empty where unknown.
        accession_number: May be empty.
        reason: Why there is no result, as a stable code; empty for one with a result, or where none is asked for.
        model: Which model answered; empty for none.
        modalities: What it holds; empty where unknown.
        findings: In the order of the label set.
        triage: Where it stands in the order of reading.
        n_delineations: Masks that exist beside the model's.
        measures: Quantity -> `(input or output, value)`, for drift.
        scored_at: ISO 8601; empty where unknown.
        fingerprint: Changes when what it was made of does.
    """

    study_instance_uid: str
    position: int
    patient_key: str = ""
    accession_number: str = ""
    reason: str = ""
    model: str = ""
    modalities: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    triage: Triage
    n_delineations: int = 0
    measures: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    scored_at: str = ""
    fingerprint: str


def known_fingerprints(database: Database) -> dict[str, str]:
    """Study -> fingerprint of what its row was made of; only of studies that are listed."""
    query = select(WORKLIST.c.study_instance_uid, WORKLIST.c.fingerprint).where(WORKLIST.c.listed)
    with database.reading() as connection:
        return {row.study_instance_uid: row.fingerprint for row in connection.execute(query)}


def setting(database: Database, name: str) -> str:
    """A value that an earlier index left; empty for none."""
    with database.reading() as connection:
        found = connection.execute(select(SETTINGS.c.value).where(SETTINGS.c.name == name)).scalar()
    return str(found or "")


def write_index(
    database: Database,
    changed: Sequence[IndexEntry],
    *,
    listed: Iterable[str],
    policy: AccessPolicy,
    settings: Mapping[str, str],
) -> None:
    """Bring the index up to date, in one transaction.

    Args:
        database: Where it lies.
        changed: Studies that are new or not what they were.
        listed: Every study that the worklist shows; others are hidden, their decisions stay.
        policy: Says which projects a study belongs to.
        settings: What to remember for the next time.

    Raises:
        StorageError: It could not be written; the index is as it was.
    """
    with database.writing() as connection:
        handles = {row.study_instance_uid: row.handle for row in connection.execute(select(WORKLIST))}
        _replace(connection, changed, handles)
        _hide(connection, set(handles) - set(listed))
        _restate_decided(connection, {entry.study_instance_uid for entry in changed})
        _assign_projects(connection, policy)
        for name, value in settings.items():
            connection.execute(delete(SETTINGS).where(SETTINGS.c.name == name))
            connection.execute(insert(SETTINGS), {"name": name, "value": value})


def _replace(connection: Connection, changed: Sequence[IndexEntry], handles: Mapping[str, str]) -> None:
    uids = [entry.study_instance_uid for entry in changed]
    for table in (*_CHILDREN, WORKLIST):
        for chunk in _chunks([uid for uid in uids if uid in handles]):
            connection.execute(delete(table).where(table.c.study_instance_uid.in_(chunk)))
    _insert(connection, WORKLIST, [_row(entry, handles) for entry in changed])
    _insert(connection, FINDINGS, [row for entry in changed for row in _finding_rows(entry)])
    _insert(
        connection,
        FLAGS,
        [
            {"study_instance_uid": entry.study_instance_uid, "flag": flag}
            for entry in changed
            for flag in entry.triage.flags
        ],
    )
    _insert(
        connection,
        MEASURES,
        [
            {"study_instance_uid": entry.study_instance_uid, "quantity": name, "kind": kind, "value": value}
            for entry in changed
            for name, (kind, value) in entry.measures.items()
        ],
    )


def _row(entry: IndexEntry, handles: Mapping[str, str]) -> dict[str, Any]:
    leading = max(entry.findings, key=lambda finding: finding.probability, default=None)
    return {
        "study_instance_uid": entry.study_instance_uid,
        "handle": handles.get(entry.study_instance_uid) or secrets.token_urlsafe(_HANDLE_BYTES),
        "listed": True,
        "position": entry.position,
        "patient_key": entry.patient_key,
        "accession_number": entry.accession_number,
        "search": f"{entry.accession_number}\n{entry.study_instance_uid}\n{entry.reason}\n{entry.model}".casefold(),
        "reason": entry.reason,
        "model": entry.model,
        "modalities": " ".join(entry.modalities),
        "leading": leading.name if leading else "",
        "highest": leading.probability if leading else -1.0,
        "uncertainty": entry.triage.uncertainty,
        "priority": entry.triage.priority,
        "priority_reason": entry.triage.reason,
        "n_delineations": entry.n_delineations,
        "scored_at": entry.scored_at,
        "fingerprint": entry.fingerprint,
        "status": (CaseStatus.NO_RESULT if entry.reason else CaseStatus.OPEN).value,
        "decided_at": "",
    }


def _finding_rows(entry: IndexEntry) -> list[dict[str, Any]]:
    return [
        {
            "study_instance_uid": entry.study_instance_uid,
            "finding": finding.name,
            "place": place,
            "probability": finding.probability,
            "operating_point": finding.operating_point,
            "unsure": is_unsure(finding),
        }
        for place, finding in enumerate(entry.findings)
    ]


def _hide(connection: Connection, gone: set[str]) -> None:
    for chunk in _chunks(sorted(gone)):
        connection.execute(update(WORKLIST).where(WORKLIST.c.study_instance_uid.in_(chunk)).values(listed=False))


def _restate_decided(connection: Connection, changed: set[str]) -> None:
    """Say again where the review of a study stands whose row is new, and of all that an older version left."""
    decided = set(connection.execute(select(DECISIONS.c.study_instance_uid).distinct()).scalars())
    stated = set(connection.execute(select(READINGS.c.study_instance_uid).distinct()).scalars())
    for uid in sorted((decided & changed) | (decided - stated)):
        restate(connection, uid)


def _assign_projects(connection: Connection, policy: AccessPolicy) -> None:
    wanted = set()
    if policy.projects:
        for row in connection.execute(select(WORKLIST.c.study_instance_uid, WORKLIST.c.accession_number)):
            projects = policy.projects_of(row.study_instance_uid, row.accession_number)
            wanted |= {(row.study_instance_uid, project) for project in projects}
    present = {tuple(row) for row in connection.execute(select(PROJECTS.c.study_instance_uid, PROJECTS.c.project))}
    for uid, project in present - wanted:
        at = (PROJECTS.c.study_instance_uid == uid) & (PROJECTS.c.project == project)
        connection.execute(delete(PROJECTS).where(at))
    _insert(connection, PROJECTS, [{"study_instance_uid": u, "project": p} for u, p in sorted(wanted - present)])


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _chunks(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
