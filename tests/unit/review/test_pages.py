"""The worklist: filter, order, pages and counts, as the database answers them."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from medfuse.domain import Verdict
from medfuse.review import CaseStatus, Desk, Order, WorklistFilter
from tests.unit.review.rooms import (
    NODULE,
    desk_of,
    handle_of,
    local_reader,
    opened,
    prediction,
    rejected,
    write_results,
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Triage order: 2 (0.95), 1 (effusion 0.9), 4 (not sure), 6 (odd), 3 (no result), 5."""
    return desk_of(
        write_results(
            tmp_path,
            prediction(1, 0.2, 0.9, created_at="2026-01-01T10:00:00+00:00"),
            prediction(2, 0.95, created_at="2026-01-02T23:59:59+00:00"),
            rejected(3),
            prediction(4, 0.4, unsure=True, created_at="2026-01-03T00:00:00+00:00"),
            prediction(5, 0.05, created_at="2026-01-04T00:00:00+00:00"),
            prediction(6, 0.1, quality=("MOTION",), created_at="2026-01-05T00:00:00+00:00"),
        )
    )


def numbers(desk: Desk, shown: WorklistFilter | None = None, order: Order = Order.SCORED, **options: object) -> str:
    page = desk.page(shown or WorklistFilter(), order, **options)  # type: ignore[arg-type]
    return "".join(row.accession_number[1:] for row in page.rows)


@pytest.mark.parametrize(
    ("order", "falling", "expected"),
    [
        (Order.TRIAGE, None, "214635"),
        (Order.PROBABILITY, None, "214563"),
        (Order.PROBABILITY, False, "356412"),
        (Order.SCORED, None, "123456"),
        (Order.SCORED, True, "654321"),
        (Order.ACCESSION, True, "654321"),
    ],
)
def test_order(desk: Desk, order: Order, falling: bool | None, expected: str) -> None:
    assert numbers(desk, order=order, descending=falling) == expected


def test_every_row_says_why_it_stands_where_it_stands(desk: Desk) -> None:
    reasons = {row.accession_number: row.priority_reason for row in desk.page().rows}
    assert reasons == {
        "A2": "lung nodule 0.95, at or above its operating point of 0.50.",
        "A1": "effusion 0.90, at or above its operating point of 0.50.",
        "A4": "Not sure: lung nodule 0.40, neither present nor absent can be ruled out.",
        "A6": "Something is odd about the input: MOTION.",
        "A3": "Without a result: MIXED_PATIENTS.",
        "A5": "Nothing is called present; the most likely is effusion 0.10.",
    }


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (WorklistFilter(), "123456"),
        (WorklistFilter(text=" mixed "), "3"),
        (WorklistFilter(text="a4"), "4"),
        (WorklistFilter(text="1.2.5"), "5"),
        (WorklistFilter(text="%"), ""),
        (WorklistFilter(text="1_2"), ""),
        (WorklistFilter(text="\\"), ""),
        (WorklistFilter(text="'; DROP TABLE decisions; --"), ""),
        (WorklistFilter(finding="lung_nodule"), "12456"),
        (WorklistFilter(finding="unknown"), ""),
        (WorklistFilter(finding="lung_nodule", at_least=0.4), "24"),
        (WorklistFilter(finding="lung_nodule", at_most=0.1), "56"),
        (WorklistFilter(at_least=0.9), "12"),
        (WorklistFilter(unsure=True), "4"),
        (WorklistFilter(unsure=False), "12356"),
        (WorklistFilter(finding="effusion", unsure=True), ""),
        (WorklistFilter(flags=frozenset({"MOTION"})), "6"),
        (WorklistFilter(flags=frozenset({"MOTION", "OTHER"})), ""),
        (WorklistFilter(has_result=True), "12456"),
        (WorklistFilter(has_result=False), "3"),
        (WorklistFilter(statuses=frozenset({CaseStatus.NO_RESULT})), "3"),
        (WorklistFilter(scored_from=date(2026, 1, 3)), "456"),
        (WorklistFilter(scored_to=date(2026, 1, 2)), "12"),
        (WorklistFilter(scored_from=date(2026, 1, 2), scored_to=date(2026, 1, 2)), "2"),
    ],
)
def test_filter(desk: Desk, shown: WorklistFilter, expected: str) -> None:
    assert numbers(desk, shown) == expected
    assert desk.page(shown).total == len(expected)


def test_probability_sorts_by_the_finding_that_is_filtered_for(desk: Desk) -> None:
    assert numbers(desk, WorklistFilter(finding="lung_nodule"), Order.PROBABILITY) == "24165"
    assert numbers(desk, WorklistFilter(finding="effusion"), Order.PROBABILITY)[0] == "1"


def test_pages_tile_the_list(desk: Desk) -> None:
    pages = [desk.page(order=Order.SCORED, offset=offset, limit=4) for offset in (0, 4, 8)]
    assert [len(page.rows) for page in pages] == [4, 2, 0]
    assert {page.total for page in pages} == {6}
    assert numbers(desk, offset=4, limit=4) == "56"
    assert len(desk.page(offset=-3, limit=0).rows) == 0


def test_counts_do_not_depend_on_the_status_that_is_shown(desk: Desk) -> None:
    desk.decide(handle_of(desk, 1), NODULE, Verdict.ACCEPTED)
    counts = desk.page(WorklistFilter(statuses=frozenset({CaseStatus.OPEN}))).counts
    assert counts == {
        CaseStatus.OPEN: 4,
        CaseStatus.STARTED: 1,
        CaseStatus.SIGNED: 0,
        CaseStatus.AMENDED: 0,
        CaseStatus.NO_RESULT: 1,
    }


def test_what_was_signed_off_comes_last_in_triage(desk: Desk) -> None:
    desk.sign_off(handle_of(desk, 2))
    assert numbers(desk, order=Order.TRIAGE) == "146352"
    (row,) = desk.page(WorklistFilter(statuses=frozenset({CaseStatus.SIGNED}))).rows
    assert (row.accession_number, row.my_status, row.reviewers) == ("A2", CaseStatus.SIGNED, ("Dr. Ames",))


def test_mine_reviewer_and_date_of_decision(desk: Desk) -> None:
    other = desk.room.desk(local_reader("Dr. Bell"))
    desk.decide(handle_of(desk, 1), NODULE, Verdict.ACCEPTED)
    other.decide(handle_of(desk, 5), NODULE, Verdict.REJECTED)
    desk.claim(handle_of(desk, 6))
    today = datetime.now(UTC).date()
    assert numbers(desk, WorklistFilter(mine=True)) == "16"
    assert numbers(other, WorklistFilter(mine=True)) == "5"
    assert numbers(desk, WorklistFilter(reviewer="Dr. Bell")) == "5"
    assert numbers(desk, WorklistFilter(text="BELL")) == "5"
    assert numbers(desk, WorklistFilter(decided_from=today)) == "15"
    assert numbers(desk, WorklistFilter(decided_to=today)) == "15"
    assert numbers(desk, WorklistFilter(decided_from=today + timedelta(days=1))) == ""
    assert numbers(desk, WorklistFilter(decided_to=today - timedelta(days=1))) == ""


def test_neighbours_follow_the_shown_order(desk: Desk) -> None:
    handle: Callable[[int], str] = lambda number: handle_of(desk, number)  # noqa: E731
    assert desk.neighbours(handle(1)) == (handle(2), handle(4))
    assert desk.neighbours(handle(2)) == (None, handle(1))
    assert desk.neighbours(handle(5)) == (handle(3), None)
    only_sure = WorklistFilter(unsure=False, has_result=True)
    assert desk.neighbours(handle(1), only_sure, Order.SCORED) == (None, handle(2))
    assert desk.neighbours(handle(4), only_sure, Order.SCORED) == (None, None)
    assert desk.neighbours("unknown") == (None, None)


def test_the_next_open_case_is_unsigned_and_unclaimed(desk: Desk) -> None:
    other = desk.room.desk(local_reader("Dr. Bell"))
    assert desk.next_open() == handle_of(desk, 2)
    desk.sign_off(handle_of(desk, 2))
    other.claim(handle_of(desk, 1))
    assert desk.next_open() == handle_of(desk, 4)
    assert other.next_open() == handle_of(desk, 2)
    assert desk.next_open(WorklistFilter(text="a2")) is None


def test_choices_are_what_the_studies_hold(desk: Desk) -> None:
    desk.decide(handle_of(desk, 1), NODULE, Verdict.ACCEPTED)
    choices = desk.choices()
    assert choices.findings == ("lung_nodule", "effusion")
    assert choices.flags == ("MOTION",)
    assert (choices.reviewers, choices.projects) == (("Dr. Ames",), ())


def test_ten_thousand_rows_take_the_same_queries(tmp_path: Path) -> None:
    """The number of statements does not grow with the number of rows that are shown."""
    from sqlalchemy import event

    room = opened(write_results(tmp_path, *(prediction(n, 0.5) for n in range(1, 61))))
    desk, counted = room.desk(local_reader("a")), list[str]()
    event.listen(room.store.database.engine, "before_cursor_execute", lambda *a: counted.append(a[2]))
    desk.page(limit=2)
    few = len(counted)
    desk.page(limit=60)
    assert len(counted) == 2 * few
