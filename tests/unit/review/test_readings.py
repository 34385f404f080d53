"""What stands of what was said: later words on earlier ones, masks, sign-offs, time."""

import pytest

from medfuse.domain import Review, ReviewKind, Shown, Subject, SubjectKind, Verdict
from medfuse.review import CaseStatus
from medfuse.review.readings import known_kind, readings_of

MASK = "ab" * 32
OUTLINE = Subject(kind=SubjectKind.SEGMENT, name="nodule")


def said(number: int, verdict: Verdict | None = None, **fields: object) -> Review:
    values = {
        "study_instance_uid": "1",
        "subject": "nodule",
        "subject_kind": SubjectKind.SEGMENT,
        "reviewer": "a",
        "created_at": f"2026-01-0{number}",
        "number": number,
    }
    return Review(verdict=verdict, **(values | fields))  # type: ignore[arg-type]


def standing(*reviews: Review) -> Review:
    return readings_of(reviews)["a"].decisions[OUTLINE]


def test_a_verdict_keeps_a_mask_that_was_drawn_and_acceptance_drops_it() -> None:
    drawn = said(1, Verdict.REJECTED, mask_sha256=MASK)
    assert standing(drawn, said(2, Verdict.REJECTED)).mask_sha256 == MASK
    assert standing(drawn, said(2, Verdict.UNSURE)).mask_sha256 == MASK
    assert standing(drawn, said(2, Verdict.ACCEPTED)).mask_sha256 == ""
    assert standing(drawn, said(2, Verdict.REJECTED, mask_sha256="cd" * 32)).mask_sha256 == "cd" * 32


def test_a_mask_or_a_comment_alone_changes_no_verdict() -> None:
    first = said(1, Verdict.UNSURE, comment="look again")
    assert standing(first, said(2, mask_sha256=MASK)).verdict is Verdict.UNSURE
    assert standing(first, said(2, mask_sha256=MASK)).comment == "look again"
    assert standing(first, said(2, comment="sure")).comment == "sure"


def test_decisions_on_different_delineations_stand_beside_each_other() -> None:
    reading = readings_of([said(1, Verdict.ACCEPTED, delineation="x"), said(2, Verdict.REJECTED, delineation="y")])["a"]
    assert {subject.delineation: r.verdict for subject, r in reading.decisions.items()} == {
        "x": Verdict.ACCEPTED,
        "y": Verdict.REJECTED,
    }


def test_what_was_withdrawn_counts_for_time_alone() -> None:
    reviews = [
        said(1, Verdict.ACCEPTED, seconds=4.0, shown=Shown.BLIND),
        said(2, kind=ReviewKind.WITHDRAWAL, withdraws=1, seconds=1.0),
    ]
    reading = readings_of(reviews)["a"]
    assert (reading.decisions, reading.seconds, reading.status, reading.was_blind) == ({}, 5.0, CaseStatus.OPEN, True)


@pytest.mark.parametrize(
    ("behind", "status"),
    [
        ([], CaseStatus.SIGNED),
        ([said(3, kind=ReviewKind.REVEAL)], CaseStatus.SIGNED),
        ([said(3, Verdict.REJECTED)], CaseStatus.AMENDED),
        ([said(3, kind=ReviewKind.WITHDRAWAL, withdraws=1)], CaseStatus.AMENDED),
        ([said(3, kind=ReviewKind.WITHDRAWAL, withdraws=2)], CaseStatus.STARTED),
        ([said(3, Verdict.REJECTED), said(4, kind=ReviewKind.SIGN_OFF)], CaseStatus.SIGNED),
    ],
)
def test_status(behind: list[Review], status: CaseStatus) -> None:
    before = [
        said(1, Verdict.ACCEPTED),
        said(2, kind=ReviewKind.SIGN_OFF, subject=None, subject_kind=SubjectKind.STUDY),
    ]
    assert readings_of([*before, *behind])["a"].status is status


def test_an_old_review_is_of_a_segment_where_a_segment_has_its_name() -> None:
    old = said(1, Verdict.ACCEPTED, subject_kind=SubjectKind.UNKNOWN)
    assert known_kind(old, ["nodule"]).subject_kind is SubjectKind.SEGMENT
    assert known_kind(old, ["vessel"]).subject_kind is SubjectKind.FINDING
    assert known_kind(said(1, Verdict.ACCEPTED), []).subject_kind is SubjectKind.SEGMENT


@pytest.mark.parametrize(
    "fields",
    [
        {"reviewer": "  ", "verdict": Verdict.ACCEPTED},
        {"verdict": None},
        {"verdict": Verdict.ACCEPTED, "withdraws": 3},
        {"verdict": None, "kind": ReviewKind.WITHDRAWAL},
    ],
)
def test_a_review_that_says_nothing_is_none(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"names its|holds a|withdrawal"):
        said(1, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": SubjectKind.STUDY, "name": "x"},
        {"kind": SubjectKind.FINDING},
        {"kind": SubjectKind.FINDING, "name": "x", "delineation": "y"},
    ],
)
def test_a_subject_names_what_it_is_about(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"has a name|lie in a delineation"):
        Subject(**fields)  # type: ignore[arg-type]
