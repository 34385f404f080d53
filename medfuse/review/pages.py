"""The worklist as pages of a query: filter, order and counts run in the database, however many studies there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, case, exists, false, func, or_, select

from medfuse.review.access import Reader
from medfuse.review.readings import CaseStatus
from medfuse.review.schema import CLAIMS, FINDINGS, FLAGS, PROJECTS, READINGS, WORKLIST

_DONE = (CaseStatus.SIGNED.value, CaseStatus.AMENDED.value)
_MINE = READINGS.alias("mine")
_ASKED = FINDINGS.alias("asked")
_UID_SHOWN = 12

NO_STUDY = "-"
"""How the key of files begins that belong to no study; no UID does."""

_ESCAPE = "\\"
_BLIND_REASON = "Read blind: the model's answer is hidden until you reveal it."


class Order(StrEnum):
    """Orders of the worklist, each with the direction that suits it."""

    TRIAGE = "triage"
    PROBABILITY = "probability"
    UNCERTAINTY = "uncertainty"
    STATUS = "status"
    ACCESSION = "accession number"
    SCORED = "order of scoring"
    DECIDED = "last decision"


_FALLING = frozenset({Order.TRIAGE, Order.PROBABILITY, Order.UNCERTAINTY, Order.DECIDED})
_TELLING = frozenset({Order.TRIAGE, Order.PROBABILITY, Order.UNCERTAINTY})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistFilter:
    """What the worklist shows; each part left at its default lets everything through.

    Args:
        text: Part of the accession number, the Study Instance UID, the reason, the model or a reviewer.
        statuses: Where the review stands; empty for all.
        finding: Only studies with a probability of it; it is also what probabilities are compared and sorted by.
        at_least: Lowest probability, of `finding` or else of the most likely finding.
        at_most: Highest one.
        unsure: Only studies where the model is (or is not) sure, of `finding` or else of any.
        flags: Studies with all of these codes.
        reviewer: Studies that this reader has said something of.
        mine: Studies that the asking reader has claimed or said something of.
        has_result: True for scored studies, False for those without a result.
        decided_from: First day of the last decision, UTC.
        decided_to: Last day of it.
        scored_from: First day of scoring, UTC.
        scored_to: Last day of it.
        project: Studies of this project.
    """

    text: str = ""
    statuses: frozenset[CaseStatus] = frozenset()
    finding: str | None = None
    at_least: float = 0.0
    at_most: float = 1.0
    unsure: bool | None = None
    flags: frozenset[str] = frozenset()
    reviewer: str = ""
    mine: bool = False
    has_result: bool | None = None
    decided_from: date | None = None
    decided_to: date | None = None
    scored_from: date | None = None
    scored_to: date | None = None
    project: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistRow:
    """One study of the worklist.

    Args:
        handle: What names it in a URL.
        title: What a person calls it: the accession number, or the end of its UID.
        accession_number: May be empty.
        reason: Why there is no result; empty for one with a result.
        model: Which model answered.
        probabilities: Finding -> probability, in the order of the label set.
        highest: The most likely finding and its probability; None without findings.
        uncertainty: Of the least certain finding, 0 to 1.
        unsure_of: Findings that the model is not sure of.
        flags: Codes of what is odd.
        status: Where the review stands, over all readers.
        my_status: Where the asking reader's own work stands.
        reviewers: Who has said something of it.
        decided_at: When somebody last did, ISO 8601; empty for never.
        scored_at: When the model answered; empty where unknown.
        claimed_by: Who has taken it; empty for nobody.
        claimed_by_me: Whether the asking reader has.
        priority: Place in the triage order; higher comes first.
        priority_reason: Why, in one sentence.
        n_delineations: Masks that exist beside the model's.
        modalities: What it holds; empty where unknown.
    """

    handle: str
    title: str
    accession_number: str = ""
    reason: str = ""
    model: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    highest: tuple[str, float] | None = None
    uncertainty: float = 0.0
    unsure_of: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    status: CaseStatus = CaseStatus.OPEN
    my_status: CaseStatus = CaseStatus.OPEN
    reviewers: tuple[str, ...] = ()
    decided_at: str = ""
    scored_at: str = ""
    claimed_by: str = ""
    claimed_by_me: bool = False
    priority: float = 0.0
    priority_reason: str = ""
    n_delineations: int = 0
    modalities: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A stretch of the worklist.

    Args:
        rows: In order.
        total: How many rows there are in all, under the filter.
        counts: Rows at each status, under the filter without its statuses.
    """

    rows: tuple[WorklistRow, ...]
    total: int
    counts: Mapping[CaseStatus, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the filters can be set to, as the studies that the reader reaches have it."""

    findings: tuple[str, ...]
    flags: tuple[str, ...]
    reviewers: tuple[str, ...]
    projects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, when, and what must not be shown.

    Args:
        reader: The person.
        now: Seconds since 1970, for claims that have ended.
        is_blind: Whether the model's answers are hidden from this reader until revealed.
        sees_others: Whether the person sees who else decided.
    """

    reader: Reader
    now: float
    is_blind: bool = False
    sees_others: bool = True


def page(
    connection: Connection,
    asker: Asker,
    shown: WorklistFilter,
    order: Order,
    *,
    descending: bool | None,
    offset: int,
    limit: int,
) -> Page:
    """A stretch of the worklist as the asker sees it."""
    counted = _counts(connection, asker, shown)
    counts = {status: sum(n for (one, _), n in counted.items() if one is status) for status in CaseStatus}
    kept = {key: n for key, n in counted.items() if not shown.statuses or key[0] in shown.statuses}
    rows: list[Mapping[Any, Any]] = []
    offset, limit = max(0, offset), max(0, limit)
    for part, n in _parts(asker, order, kept):
        wanted = limit - len(rows)
        if wanted > 0 and offset < n:
            query = _listed(asker, shown, WORKLIST, _my_status().label("my_status")).where(*part)
            query = query.order_by(*_ordering(asker, shown, order, descending)).offset(offset).limit(wanted)
            rows += [dict(row) for row in connection.execute(query).mappings()]
        offset = max(0, offset - n)
    return Page(rows=_rows(connection, asker, rows), total=sum(kept.values()), counts=counts)


def _parts(
    asker: Asker, order: Order, counted: Mapping[tuple[CaseStatus, bool], int]
) -> list[tuple[tuple[ColumnElement[bool], ...], int]]:
    """The list in stretches that an index can give in order, with the number of rows of each.

    In triage order what the asker has signed off stands behind the rest. Sorting by that would sort every row for
    every page, so the two stretches are asked for one by one.
    """
    if order is not Order.TRIAGE:
        return [((), sum(counted.values()))]
    n_done = sum(n for (_, is_done), n in counted.items() if is_done)
    return [((~_is_done(),), sum(counted.values()) - n_done), ((_is_done(),), n_done)]


def rows_of(connection: Connection, asker: Asker, condition: ColumnElement[bool]) -> tuple[WorklistRow, ...]:
    """The rows that a condition names and the asker reaches, newest first."""
    query = _listed(asker, WorklistFilter(), WORKLIST, _my_status().label("my_status")).where(condition)
    found = connection.execute(query.order_by(WORKLIST.c.scored_at.desc())).mappings()
    return _rows(connection, asker, [dict(row) for row in found])


def handles(
    connection: Connection, asker: Asker, shown: WorklistFilter, order: Order, descending: bool | None
) -> list[str]:
    """Every handle in order."""
    found: list[str] = []
    for part, _ in _parts(asker, order, {}):
        query = _listed(asker, shown, WORKLIST.c.handle).where(*part)
        found += connection.execute(query.order_by(*_ordering(asker, shown, order, descending))).scalars()
    return found


def titles(connection: Connection, asker: Asker) -> dict[str, str]:
    """Handle -> title of every study that the asker reaches."""
    query = select(WORKLIST.c.handle, WORKLIST.c.accession_number, WORKLIST.c.study_instance_uid)
    rows = connection.execute(query.where(reach(asker.reader)))
    return {row.handle: title_of(row.accession_number, row.study_instance_uid) for row in rows}


def next_open(connection: Connection, asker: Asker, shown: WorklistFilter, order: Order) -> str | None:
    """The first study that the asker has not signed off, with a result where there are any, and nobody else holds."""
    held = exists().where(
        CLAIMS.c.study_instance_uid == WORKLIST.c.study_instance_uid,
        CLAIMS.c.reviewer != asker.reader.name,
        CLAIMS.c.expires_at > asker.now,
    )
    query = (
        _listed(asker, shown, WORKLIST.c.handle)
        .where(~_is_done(), ~held)
        .order_by(*_ordering(asker, shown, order, None))
        .limit(1)
    )
    return connection.execute(query).scalar()


def choices(connection: Connection, asker: Asker) -> Choices:
    """What the filters can be set to."""

    def within(table: Table) -> tuple[ColumnElement[bool], ...]:
        if asker.reader.reaches_everything:
            return ()
        return (table.c.study_instance_uid.in_(select(WORKLIST.c.study_instance_uid).where(reach(asker.reader))),)

    findings = (
        select(FINDINGS.c.finding, func.min(FINDINGS.c.place).label("place"))
        .where(*within(FINDINGS))
        .group_by(FINDINGS.c.finding)
        .order_by("place", FINDINGS.c.finding)
    )
    flags = select(FLAGS.c.flag).where(*within(FLAGS)).distinct().order_by(FLAGS.c.flag)
    reviewers = select(READINGS.c.reviewer).where(*within(READINGS)).distinct()
    projects = select(PROJECTS.c.project).where(*within(PROJECTS)).distinct()
    return Choices(
        findings=tuple(row.finding for row in connection.execute(findings)),
        flags=() if asker.is_blind else tuple(connection.execute(flags).scalars()),
        reviewers=tuple(sorted(connection.execute(reviewers).scalars())) if asker.sees_others else (),
        projects=tuple(sorted(connection.execute(projects).scalars())),
    )


def reach(reader: Reader) -> ColumnElement[bool]:
    """Whether a row of the worklist is among what the reader may see."""
    if reader.reaches_everything:
        return WORKLIST.c.listed
    if not reader.projects:
        return false()
    within = exists().where(
        PROJECTS.c.study_instance_uid == WORKLIST.c.study_instance_uid, PROJECTS.c.project.in_(reader.projects)
    )
    return and_(WORKLIST.c.listed, within)


def title_of(accession_number: str, study_instance_uid: str) -> str:
    """What a person calls a study: the accession number, or the end of its UID."""
    if study_instance_uid.startswith(NO_STUDY):
        return accession_number or "files of no study"
    return accession_number or f"…{study_instance_uid[-_UID_SHOWN:]}"


def _conditions(asker: Asker, shown: WorklistFilter, *, by_status: bool = True) -> list[ColumnElement[bool]]:
    """What a row has to meet to be shown."""
    asked = [reach(asker.reader), *_texts(asker, shown), *_dates(shown)]
    if not asker.is_blind:
        asked += _findings(shown)
        asked += [_has(FLAGS, FLAGS.c.flag == flag) for flag in sorted(shown.flags)]
    if by_status and shown.statuses:
        asked.append(WORKLIST.c.status.in_([status.value for status in shown.statuses]))
    if shown.has_result is not None:
        asked.append(WORKLIST.c.reason == "" if shown.has_result else WORKLIST.c.reason != "")
    if shown.project:
        asked.append(_has(PROJECTS, PROJECTS.c.project == shown.project))
    return asked


def _texts(asker: Asker, shown: WorklistFilter) -> list[ColumnElement[bool]]:
    asked: list[ColumnElement[bool]] = []
    if text := shown.text.strip().casefold():
        pattern = f"%{_escaped(text)}%"
        by_name = _has(READINGS, func.lower(READINGS.c.reviewer).like(pattern, escape=_ESCAPE))
        found = WORKLIST.c.search.like(pattern, escape=_ESCAPE)
        asked.append(or_(found, by_name) if asker.sees_others else found)
    if shown.reviewer:
        asked.append(_has(READINGS, READINGS.c.reviewer == shown.reviewer))
    if shown.mine:
        claimed = _has(CLAIMS, CLAIMS.c.reviewer == asker.reader.name, CLAIMS.c.expires_at > asker.now)
        asked.append(or_(_MINE.c.reviewer.is_not(None), claimed))
    return asked


def _findings(shown: WorklistFilter) -> list[ColumnElement[bool]]:
    """What is asked of the finding that `_listed` joined, or else of the most likely one."""
    asked: list[ColumnElement[bool]] = []
    probability = WORKLIST.c.highest if shown.finding is None else _ASKED.c.probability
    if shown.at_least > 0 or shown.at_most < 1:
        asked.append(probability.between(shown.at_least, shown.at_most))
    if shown.unsure is not None and shown.finding is not None:
        asked.append(_ASKED.c.unsure.is_(shown.unsure))
    elif shown.unsure is not None:
        any_unsure = _has(FINDINGS, FINDINGS.c.unsure)
        asked.append(any_unsure if shown.unsure else ~any_unsure)
    return asked


def _dates(shown: WorklistFilter) -> list[ColumnElement[bool]]:
    asked = []
    for column, first, last in (
        (WORKLIST.c.decided_at, shown.decided_from, shown.decided_to),
        (WORKLIST.c.scored_at, shown.scored_from, shown.scored_to),
    ):
        if first is not None:
            asked.append(column >= first.isoformat())
        if last is not None:
            asked.append(and_(column != "", column < (last + timedelta(days=1)).isoformat()))
    return asked


def _ordering(asker: Asker, shown: WorklistFilter, order: Order, descending: bool | None) -> list[ColumnElement[Any]]:
    """The columns to sort by; ties keep the order of scoring."""
    falls = order in _FALLING if descending is None else descending
    asked = shown.finding is not None and not asker.is_blind
    keys: dict[Order, ColumnElement[Any]] = {
        Order.TRIAGE: WORKLIST.c.priority,
        Order.PROBABILITY: _ASKED.c.probability if asked else WORKLIST.c.highest,
        Order.UNCERTAINTY: WORKLIST.c.uncertainty,
        Order.STATUS: WORKLIST.c.status,
        Order.ACCESSION: WORKLIST.c.accession_number,
        Order.SCORED: WORKLIST.c.position,
        Order.DECIDED: WORKLIST.c.decided_at,
    }
    ties: list[ColumnElement[Any]] = [WORKLIST.c.position.asc(), WORKLIST.c.study_instance_uid.asc()]
    if asker.is_blind and order in _TELLING:
        return ties
    return [keys[order].desc() if falls else keys[order].asc(), *ties]


def _listed(asker: Asker, shown: WorklistFilter, *columns: Any, by_status: bool = True) -> Select[Any]:
    """The rows that are shown, beside the asker's own readings and the finding that is asked for."""
    own = and_(_MINE.c.study_instance_uid == WORKLIST.c.study_instance_uid, _MINE.c.reviewer == asker.reader.name)
    source = WORKLIST.outerjoin(_MINE, own)
    if shown.finding is not None and not asker.is_blind:
        same = _ASKED.c.study_instance_uid == WORKLIST.c.study_instance_uid
        source = source.join(_ASKED, and_(same, _ASKED.c.finding == shown.finding))
    return select(*columns).select_from(source).where(*_conditions(asker, shown, by_status=by_status))


def _my_status() -> ColumnElement[str]:
    return func.coalesce(_MINE.c.status, CaseStatus.OPEN.value)


def _is_done() -> ColumnElement[bool]:
    """Whether the asker has signed the study off."""
    return _my_status().in_(_DONE)


def _counts(connection: Connection, asker: Asker, shown: WorklistFilter) -> dict[tuple[CaseStatus, bool], int]:
    """How many rows there are under the filter without its statuses, by status and by what the asker has signed off."""
    done = case((_is_done(), 1), else_=0)
    query = _listed(asker, shown, WORKLIST.c.status, done.label("done"), func.count().label("n"), by_status=False)
    found = connection.execute(query.group_by(WORKLIST.c.status, done))
    return {(CaseStatus(row.status), bool(row.done)): row.n for row in found}


def _rows(connection: Connection, asker: Asker, rows: Sequence[Mapping[Any, Any]]) -> tuple[WorklistRow, ...]:
    uids = [row["study_instance_uid"] for row in rows]
    details = _Details(connection, asker, uids)
    return tuple(_row(asker, row, details) for row in rows)


class _Details:
    """What lies in other tables of the studies of one page: four queries, however many rows."""

    def __init__(self, connection: Connection, asker: Asker, uids: Sequence[str]) -> None:
        self.findings: dict[str, list[Any]] = {}
        self.flags: dict[str, list[str]] = {}
        self.reviewers: dict[str, list[str]] = {}
        self.claims: dict[str, list[str]] = {}
        if not uids:
            return
        for row in connection.execute(
            select(FINDINGS).where(FINDINGS.c.study_instance_uid.in_(uids)).order_by(FINDINGS.c.place)
        ):
            self.findings.setdefault(row.study_instance_uid, []).append(row)
        for row in connection.execute(select(FLAGS).where(FLAGS.c.study_instance_uid.in_(uids)).order_by(FLAGS.c.flag)):
            self.flags.setdefault(row.study_instance_uid, []).append(row.flag)
        for row in connection.execute(
            select(READINGS).where(READINGS.c.study_instance_uid.in_(uids)).order_by(READINGS.c.decided_at.desc())
        ):
            if asker.sees_others or row.reviewer == asker.reader.name:
                self.reviewers.setdefault(row.study_instance_uid, []).append(row.reviewer)
        held = select(CLAIMS).where(CLAIMS.c.study_instance_uid.in_(uids), CLAIMS.c.expires_at > asker.now)
        for row in connection.execute(held):
            self.claims.setdefault(row.study_instance_uid, []).append(row.reviewer)


def _row(asker: Asker, row: Mapping[Any, Any], details: _Details) -> WorklistRow:
    uid, me = row["study_instance_uid"], asker.reader.name
    findings = details.findings.get(uid, [])
    claims = details.claims.get(uid, [])
    hidden = asker.is_blind and not row["reason"] and row["my_status"] not in _DONE
    return WorklistRow(
        handle=row["handle"],
        title=title_of(row["accession_number"], uid),
        accession_number=row["accession_number"],
        reason=row["reason"],
        model="" if hidden else row["model"],
        probabilities={} if hidden else {one.finding: one.probability for one in findings},
        highest=(row["leading"], row["highest"]) if row["leading"] and not hidden else None,
        uncertainty=0.0 if hidden else row["uncertainty"],
        unsure_of=() if hidden else tuple(one.finding for one in findings if one.unsure),
        flags=() if hidden else tuple(details.flags.get(uid, [])),
        status=CaseStatus(row["status"]),
        my_status=CaseStatus(row["my_status"]),
        reviewers=tuple(details.reviewers.get(uid, [])),
        decided_at=row["decided_at"],
        scored_at=row["scored_at"],
        claimed_by=me if me in claims else next(iter(claims), ""),
        claimed_by_me=me in claims,
        priority=0.0 if hidden else row["priority"],
        priority_reason=_BLIND_REASON if hidden else row["priority_reason"],
        n_delineations=row["n_delineations"],
        modalities=row["modalities"],
    )


def _has(table: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(table.c.study_instance_uid == WORKLIST.c.study_instance_uid, *conditions)


def _escaped(text: str) -> str:
    for character in (_ESCAPE, "%", "_"):
        text = text.replace(character, _ESCAPE + character)
    return text
