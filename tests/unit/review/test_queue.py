"""The worklist: what is shown, in which order, and which study comes next."""

import pytest

from medfuse.domain import Review, Verdict
from medfuse.review import QueueFilter, QueueRow, ReviewStatus, SortBy, counts, neighbours, worklist


def row(
    uid: str, probabilities: dict[str, float] | None = None, verdict: Verdict | None = None, **fields: str
) -> QueueRow:
    review = None
    if verdict:
        review = Review(study_instance_uid=uid, verdict=verdict, reviewer="Dr. Who", created_at="2026-01-01T00:00:00Z")
    return QueueRow(study_instance_uid=uid, probabilities=probabilities or {}, review=review, **fields)


ROWS = (
    row("1", {"nodule": 0.2, "effusion": 0.9}, accession_number="B"),
    row("2", {"nodule": 0.95, "effusion": 0.1}, Verdict.ACCEPTED, accession_number="A"),
    row("3", reason="MIXED_PATIENTS", accession_number="D"),
    row("4", {"nodule": 0.5, "effusion": 0.5}, Verdict.UNSURE, accession_number="C"),
)


def uids(shown: QueueFilter | None = None, sort: SortBy = SortBy.SCORED) -> str:
    return "".join(row.study_instance_uid for row in worklist(ROWS, shown, sort))


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (SortBy.SCORED, "1234"),
        (SortBy.PROBABILITY, "2143"),
        (SortBy.OPEN_FIRST, "1243"),
        (SortBy.ACCESSION, "2143"),
    ],
)
def test_sort(sort: SortBy, expected: str) -> None:
    assert uids(sort=sort) == expected


def test_probability_sorts_by_the_finding_that_is_filtered_for() -> None:
    assert uids(QueueFilter(finding="nodule"), SortBy.PROBABILITY) == "241"
    assert uids(QueueFilter(finding="effusion"), SortBy.PROBABILITY) == "142"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (QueueFilter(), "1234"),
        (QueueFilter(text=" mixed "), "3"),
        (QueueFilter(text="dr. who"), "24"),
        (QueueFilter(text="b"), "1"),
        (QueueFilter(statuses=frozenset({ReviewStatus.OPEN})), "13"),
        (QueueFilter(statuses=frozenset({ReviewStatus.ACCEPTED, ReviewStatus.UNSURE})), "24"),
        (QueueFilter(finding="absent from all"), ""),
        (QueueFilter(at_least=0.9), "12"),
        (QueueFilter(at_least=0.5, finding="nodule"), "24"),
        (QueueFilter(scored=True), "124"),
        (QueueFilter(scored=False), "3"),
    ],
)
def test_filter(shown: QueueFilter, expected: str) -> None:
    assert uids(shown) == expected


def test_a_row_says_its_highest_finding_status_and_reviewer() -> None:
    assert ROWS[0].highest == ("effusion", 0.9)
    assert ROWS[2].highest is None
    assert [r.status.value for r in ROWS] == ["open", "accepted", "open", "unsure"]
    assert row("9", verdict=Verdict.REJECTED).status is ReviewStatus.REJECTED
    assert (ROWS[0].reviewer, ROWS[1].reviewer) == ("", "Dr. Who")
    assert [r.is_scored for r in ROWS] == [True, True, False, True]


def test_a_title_never_is_a_whole_uid_and_never_is_empty() -> None:
    assert ROWS[0].title == "B"
    assert row("1.2.840.123456789012").title == "…123456789012"
    assert row("").title == "files of no study"


def test_counts_hold_every_status() -> None:
    assert counts(ROWS) == {
        ReviewStatus.OPEN: 2,
        ReviewStatus.ACCEPTED: 1,
        ReviewStatus.REJECTED: 0,
        ReviewStatus.UNSURE: 1,
    }


@pytest.mark.parametrize(
    ("uid", "expected"), [("1", (None, "2")), ("2", ("1", "3")), ("3", ("2", None)), ("9", (None, None))]
)
def test_neighbours(uid: str, expected: tuple[str | None, str | None]) -> None:
    assert neighbours(["1", "2", "3"], uid) == expected
