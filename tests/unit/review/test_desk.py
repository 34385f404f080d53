"""One reader's place: decisions, undo, sign-off, amendment, blind reading, claims, and what is out of reach."""

import time
from pathlib import Path

import pytest

from medfuse.domain import ReviewKind, Shown, Subject, SubjectKind, Verdict
from medfuse.errors import UsageError
from medfuse.review import (
    AccessError,
    AmendmentNeedsReasonError,
    CaseStatus,
    Desk,
    ReadingRoom,
    Role,
    WorklistFilter,
    local_reader,
)
from tests.unit.review.rooms import (
    EFFUSION,
    MODEL,
    NODULE,
    OUTLINE,
    WHOLE,
    desk_of,
    handle_of,
    opened,
    prediction,
    reader,
    rejected,
    write_results,
    write_users,
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_of(write_results(tmp_path, prediction(1, 0.9), prediction(2, 0.2), rejected(3)))


@pytest.fixture
def handle(desk: Desk) -> str:
    return handle_of(desk, 1)


def test_a_decision_is_kept_with_everything_that_was_said(desk: Desk, handle: str) -> None:
    kept = desk.decide(
        handle, NODULE, Verdict.REJECTED, value="ABSENT", comment=" a vessel ", seconds=12.5, shown=Shown.BLIND
    )
    assert desk.case(handle).history == (kept,)
    assert (kept.value, kept.comment, kept.seconds, kept.shown) == ("ABSENT", "a vessel", 12.5, Shown.BLIND)
    assert (kept.reviewer, kept.model_weights_sha256) == ("Dr. Ames", MODEL.weights_sha256)
    assert kept.about == NODULE
    assert desk.case(handle).row.status is CaseStatus.STARTED


def test_the_last_decision_on_a_subject_stands_and_a_comment_changes_no_verdict(desk: Desk, handle: str) -> None:
    desk.decide(handle, NODULE, Verdict.REJECTED, value="ABSENT")
    desk.decide(handle, EFFUSION, Verdict.UNSURE)
    desk.decide(handle, NODULE, Verdict.ACCEPTED, comment="on second thought")
    desk.decide(handle, NODULE, None, comment="sure now")
    standing = desk.case(handle).readings["Dr. Ames"].decisions
    assert (standing[NODULE].verdict, standing[NODULE].value) == (Verdict.ACCEPTED, "")
    assert standing[NODULE].comment == "sure now"
    assert standing[EFFUSION].verdict is Verdict.UNSURE


def test_undo_goes_back_one_step_at_a_time_and_keeps_what_was_said(desk: Desk, handle: str) -> None:
    desk.decide(handle, NODULE, Verdict.ACCEPTED)
    desk.decide(handle, NODULE, Verdict.REJECTED)
    undone = desk.undo(handle)
    assert undone is not None
    assert (undone.kind, undone.withdraws) == (ReviewKind.WITHDRAWAL, 2)
    assert desk.case(handle).readings["Dr. Ames"].decisions[NODULE].verdict is Verdict.ACCEPTED
    desk.undo(handle)
    assert desk.case(handle).readings["Dr. Ames"].decisions == {}
    assert desk.undo(handle) is None
    assert len(desk.case(handle).history) == 4
    assert desk.case(handle).row.status is CaseStatus.OPEN


def test_a_retried_undo_is_one_undo(desk: Desk, handle: str) -> None:
    desk.decide(handle, NODULE, Verdict.ACCEPTED)
    desk.decide(handle, NODULE, Verdict.REJECTED)
    first, again = desk.undo(handle, key="u"), desk.undo(handle, key="u")
    assert first is not None
    assert again is not None
    assert first.number == again.number
    assert desk.case(handle).readings["Dr. Ames"].decisions[NODULE].verdict is Verdict.ACCEPTED
    assert len(desk.case(handle).history) == 3


def test_one_reader_never_undoes_another(desk: Desk, handle: str) -> None:
    desk.decide(handle, NODULE, Verdict.ACCEPTED)
    assert desk.room.desk(local_reader("Dr. Bell")).undo(handle) is None


def test_behind_a_sign_off_a_change_needs_a_reason_and_is_an_amendment(desk: Desk, handle: str) -> None:
    desk.decide(handle, NODULE, Verdict.ACCEPTED)
    desk.sign_off(handle, comment="done")
    assert desk.case(handle).readings["Dr. Ames"].status is CaseStatus.SIGNED
    for change in (lambda: desk.decide(handle, NODULE, Verdict.REJECTED), lambda: desk.undo(handle, reason="  ")):
        with pytest.raises(AmendmentNeedsReasonError, match="say why"):
            change()
    desk.decide(handle, NODULE, Verdict.REJECTED, reason="the prior study shows a vessel")
    reading = desk.case(handle).readings["Dr. Ames"]
    assert (reading.status, reading.is_amended) == (CaseStatus.AMENDED, True)
    assert [review.verdict for review in desk.case(handle).history if review.about == NODULE] == [
        Verdict.ACCEPTED,
        Verdict.REJECTED,
    ]
    desk.sign_off(handle)
    assert desk.case(handle).readings["Dr. Ames"].status is CaseStatus.SIGNED


def test_a_sign_off_can_be_withdrawn_with_a_reason(desk: Desk, handle: str) -> None:
    desk.sign_off(handle)
    desk.undo(handle, reason="wrong study")
    assert desk.case(handle).row.status is CaseStatus.OPEN
    desk.decide(handle, NODULE, Verdict.ACCEPTED)


def test_a_reader_who_signed_off_does_not_bind_the_others(desk: Desk, handle: str) -> None:
    desk.sign_off(handle)
    desk.room.desk(local_reader("Dr. Bell")).decide(handle, NODULE, Verdict.ACCEPTED)
    assert set(desk.case(handle).readings) == {"Dr. Ames", "Dr. Bell"}


def test_a_retry_with_the_same_key_is_one_decision(desk: Desk, handle: str) -> None:
    first = desk.decide(handle, NODULE, Verdict.ACCEPTED, key="k", seconds=1)
    again = desk.decide(handle, NODULE, Verdict.ACCEPTED, key="k", seconds=4)
    assert (first.number, again.number, again.seconds) == (1, 1, 1.0)


def test_time_on_a_case_adds_up(desk: Desk, handle: str) -> None:
    desk.decide(handle, NODULE, Verdict.ACCEPTED, seconds=10)
    desk.decide(handle, EFFUSION, Verdict.ACCEPTED, seconds=-5)
    desk.decide(handle, WHOLE, Verdict.ACCEPTED, seconds=float("inf"))
    desk.sign_off(handle, seconds=2.5)
    assert desk.case(handle).readings["Dr. Ames"].seconds == 12.5


@pytest.mark.parametrize(
    ("subject", "value", "expected"),
    [
        (NODULE, "YES", "a finding is PRESENT, ABSENT, UNCERTAIN"),
        (NODULE, "NOT_ASSESSED", "a finding is"),
        (OUTLINE, "PRESENT", "has no value"),
        (WHOLE, "PRESENT", "has no value"),
        (Subject(kind=SubjectKind.TARGET, name="grade"), "middling", "grade is one of low, high"),
        (Subject(kind=SubjectKind.TARGET, name="age"), "old", "age is a number"),
        (Subject(kind=SubjectKind.TARGET, name="age"), "inf", "age is a number"),
        (Subject(kind=SubjectKind.TARGET, name="unknown"), "1", "no such target"),
    ],
)
def test_a_value_that_the_subject_does_not_take_is_refused(
    desk: Desk, handle: str, subject: Subject, value: str, expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        desk.decide(handle, subject, Verdict.REJECTED, value=value)
    assert desk.case(handle).history == ()


@pytest.mark.parametrize(("name", "value"), [("grade", "high"), ("age", "68.5")])
def test_targets_take_their_classes_and_numbers(desk: Desk, handle: str, name: str, value: str) -> None:
    desk.decide(handle, Subject(kind=SubjectKind.TARGET, name=name), Verdict.REJECTED, value=value)


def test_a_finding_that_the_model_missed_may_be_named(desk: Desk, handle: str) -> None:
    missed = Subject(kind=SubjectKind.FINDING, name="rib fracture")
    desk.decide(handle, missed, None, value="PRESENT")
    assert desk.case(handle).readings["Dr. Ames"].decisions[missed].value == "PRESENT"


def test_a_decision_says_something_and_names_a_mask_that_is_there(desk: Desk, handle: str) -> None:
    with pytest.raises(UsageError, match="needs a verdict"):
        desk.decide(handle, NODULE, None, comment="  ")
    for mask in ("ab" * 32, "../../etc/passwd", "x"):
        with pytest.raises(UsageError, match="no corrected segmentation"):
            desk.decide(handle, OUTLINE, Verdict.REJECTED, mask=mask)
    with pytest.raises(UsageError, match="at most 10000"):
        desk.decide(handle, NODULE, Verdict.ACCEPTED, comment="x" * 10_001)


def test_a_study_without_a_result_says_why_and_takes_decisions(desk: Desk) -> None:
    handle = handle_of(desk, 3)
    case = desk.case(handle)
    assert (case.prediction, case.problem) == (None, "This study was not scored: MIXED_PATIENTS.")
    desk.decide(handle, NODULE, None, value="PRESENT")
    desk.undo(handle)
    assert desk.case(handle).row.status is CaseStatus.NO_RESULT


def test_a_broken_prediction_says_so(desk: Desk, handle: str) -> None:
    (desk.room.place / "1.2.1" / "prediction.json").write_text("{")
    case = desk.case(handle)
    assert case.prediction is None
    assert "cannot be shown" in case.problem


class TestBlind:
    @pytest.fixture
    def desk(self, tmp_path: Path) -> Desk:
        folder = write_results(tmp_path, prediction(1, 0.9, quality=("MOTION",)), prediction(2, 0.2), rejected(3))
        return desk_of(folder, blind=True)

    def test_nothing_of_the_model_is_handed_out(self, desk: Desk, handle: str) -> None:
        case = desk.case(handle)
        assert (case.is_blind, case.prediction, case.segmentation) == (True, None, None)
        for row in (case.row, *(row for row in desk.page().rows if not row.reason)):
            assert (row.probabilities, row.highest, row.unsure_of, row.flags, row.model) == ({}, None, (), (), "")
            assert (row.uncertainty, row.priority) == (0.0, 0.0)
            assert "hidden" in row.priority_reason

    def test_nor_can_it_be_told_by_filter_or_order(self, desk: Desk) -> None:
        everything = desk.page().total
        assert desk.page(WorklistFilter(at_least=0.8)).total == everything
        assert desk.page(WorklistFilter(unsure=True)).total == everything
        assert desk.page(WorklistFilter(flags=frozenset({"MOTION"}))).total == everything
        assert [row.accession_number for row in desk.page().rows] == ["A1", "A2", "A3"]
        assert desk.choices().flags == ()

    def test_it_is_kept_what_was_decided_before_and_behind_the_reveal(self, desk: Desk, handle: str) -> None:
        desk.decide(handle, NODULE, None, value="ABSENT", shown=Shown.BLIND)
        revealed = desk.reveal(handle)
        assert revealed.kind is ReviewKind.REVEAL
        case = desk.case(handle)
        assert not case.is_blind
        assert case.prediction is not None
        desk.decide(handle, NODULE, Verdict.REJECTED, value="PRESENT", shown=Shown.REVEALED)
        assert [review.shown for review in desk.case(handle).history] == [
            Shown.BLIND,
            Shown.REVEALED,
            Shown.REVEALED,
        ]
        assert desk.case(handle).readings["Dr. Ames"].was_blind

    def test_who_has_seen_the_model_is_no_longer_blind(self, desk: Desk, handle: str) -> None:
        desk.reveal(handle)
        with pytest.raises(UsageError, match="not blind"):
            desk.decide(handle, NODULE, None, value="ABSENT", shown=Shown.BLIND)

    def test_agreement_gives_nothing_away(self, desk: Desk, handle: str) -> None:
        desk.decide(handle, NODULE, None, value="ABSENT", shown=Shown.BLIND)
        assert desk.agreement(draws=10).disagreements == ()
        desk.reveal(handle)
        (one,) = desk.agreement(draws=10).disagreements
        assert one.values["model"] == "PRESENT"

    def test_what_others_said_is_hidden_as_long(self, desk: Desk, handle: str) -> None:
        other = desk.room.desk(local_reader("Dr. Bell"))
        other.decide(handle, NODULE, None, value="PRESENT", shown=Shown.BLIND)
        assert desk.case(handle).readings == {}
        desk.reveal(handle)
        assert "Dr. Bell" in desk.case(handle).readings

    def test_one_case_may_be_read_blind_where_the_room_is_not(self, tmp_path: Path) -> None:
        desk = desk_of(write_results(tmp_path / "open", prediction(1, 0.9)))
        handle = handle_of(desk, 1)
        assert desk.case(handle, blind=True).prediction is None
        assert desk.case(handle).prediction is not None


class TestClaims:
    def test_a_claim_keeps_others_off_until_it_is_released(self, desk: Desk, handle: str) -> None:
        other = desk.room.desk(reader("bell", role=Role.ADMIN))
        mine = desk.claim(handle)
        assert (mine.by, mine.is_mine) == ("Dr. Ames", True)
        theirs = other.claim(handle)
        assert (theirs.by, theirs.is_mine) == ("Dr. Ames", False)
        row = next(row for row in other.page().rows if row.handle == handle)
        assert (row.claimed_by, row.claimed_by_me) == ("Dr. Ames", False)
        other.release(handle)
        assert not other.claim(handle).is_mine
        desk.release(handle)
        assert other.claim(handle).is_mine

    def test_a_claim_ends_by_itself_and_is_renewed_by_asking(
        self, desk: Desk, handle: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other, start = desk.room.desk(local_reader("Dr. Bell")), time.time()
        desk.claim(handle)
        for minutes, is_free in ((19, False), (30, False), (41, True)):
            monkeypatch.setattr(time, "time", lambda minutes=minutes: start + 60 * minutes)
            if minutes == 19:
                assert desk.claim(handle).is_mine
            assert other.claim(handle).is_mine is is_free

    def test_a_lead_takes_over_and_a_reader_does_not(self, tmp_path: Path) -> None:
        (tmp_path / "chest.csv").write_text("1.2.1\n")
        room = opened(write_results(tmp_path, prediction(1, 0.9)), users=write_users(tmp_path, USERS))
        ames, bell, lee = (room.desk(room.policy.reader(f"{name}@example.org")) for name in ("ames", "bell", "lee"))
        handle = handle_of(ames, 1)
        ames.claim(handle)
        with pytest.raises(AccessError, match="only a lead"):
            bell.claim(handle, take_over=True)
        assert lee.claim(handle, take_over=True).is_mine
        assert not ames.claim(handle).is_mine

    def test_double_reading_lets_two_readers_work_at_once(self, tmp_path: Path) -> None:
        users = write_users(tmp_path, USERS.replace("{studies: chest.csv}", "{double_reading: true}"))
        room = opened(write_results(tmp_path, prediction(1, 0.9)), users=users)
        ames, bell = (room.desk(room.policy.reader(f"{name}@example.org")) for name in ("ames", "bell"))
        assert ames.claim(handle_of(ames, 1)).is_mine
        assert bell.claim(handle_of(ames, 1)).is_mine
        assert bell.next_open() is None

    def test_only_the_projects_of_the_study_count(self, tmp_path: Path) -> None:
        text = USERS.replace("rest: {}", "rest: {studies: rest.csv, double_reading: true}").replace(
            "[chest]", "[chest, rest]"
        )
        (tmp_path / "chest.csv").write_text("1.2.1\n")
        (tmp_path / "rest.csv").write_text("1.2.2\n")
        folder = write_results(tmp_path, prediction(1, 0.9), prediction(2, 0.9))
        room = opened(folder, users=write_users(tmp_path, text))
        ames, bell = (room.desk(room.policy.reader(f"{name}@example.org")) for name in ("ames", "bell"))
        assert all(ames.claim(handle_of(ames, n)).is_mine for n in (1, 2))
        assert [bell.claim(handle_of(bell, n)).is_mine for n in (1, 2)] == [False, True]


USERS = """
projects:
  chest: {studies: chest.csv}
  rest: {}
users:
  ames@example.org: {role: reader, projects: [chest]}
  bell@example.org: {role: reader, projects: [chest]}
  lee@example.org: {role: lead, projects: [chest]}
  root@example.org: {role: admin}
  none@example.org: {role: reader}
"""


class TestProjects:
    @pytest.fixture
    def room(self, tmp_path: Path) -> ReadingRoom:
        folder = write_results(tmp_path, prediction(1, 0.9), prediction(2, 0.2), patients={1: "p", 2: "p"})
        (tmp_path / "chest.csv").write_text("accession_number\nA1\n")
        return opened(folder, users=write_users(tmp_path, USERS))

    def desk(self, room: ReadingRoom, name: str) -> Desk:
        return room.desk(room.policy.reader(f"{name}@example.org"))

    def test_a_reader_sees_the_studies_of_the_own_projects_alone(self, room: ReadingRoom) -> None:
        assert [row.accession_number for row in self.desk(room, "ames").page().rows] == ["A1"]
        assert sum(self.desk(room, "ames").page().counts.values()) == 1
        assert self.desk(room, "root").page().total == 2
        assert self.desk(room, "none").page().total == 0

    def test_another_study_answers_like_one_that_does_not_exist(self, room: ReadingRoom) -> None:
        ames, hidden = self.desk(room, "ames"), handle_of(self.desk(room, "root"), 2)
        calls = (
            lambda handle: ames.case(handle),
            lambda handle: ames.claim(handle),
            lambda handle: ames.release(handle),
            lambda handle: ames.priors(handle),
            lambda handle: ames.decide(handle, NODULE, Verdict.ACCEPTED),
            lambda handle: ames.undo(handle),
            lambda handle: ames.sign_off(handle),
            lambda handle: ames.reveal(handle),
            lambda handle: ames.save_segmentation(handle, None, "1", ()),
        )
        for call in calls:
            said = set()
            for handle in (hidden, "AAAAAAAAAAAAAAAA", "", "1.2.2", "' OR 1=1 --"):
                with pytest.raises(AccessError) as refused:
                    call(handle)
                said.add(str(refused.value))
            assert said == {"there is no such study"}
        assert ames.neighbours(hidden) == (None, None)
        assert room.store.history("1.2.2") == ()

    def test_priors_stay_within_the_projects(self, room: ReadingRoom) -> None:
        handle = handle_of(self.desk(room, "root"), 1)
        assert [row.accession_number for row in self.desk(room, "root").priors(handle)] == ["A2"]
        assert self.desk(room, "ames").priors(handle) == ()

    def test_agreement_and_drift_are_for_leads(self, room: ReadingRoom) -> None:
        root, ames, bell = (self.desk(room, name) for name in ("root", "ames", "bell"))
        for each in (ames, bell):
            each.decide(handle_of(root, 1), NODULE, Verdict.ACCEPTED)
        root.decide(handle_of(root, 2), NODULE, Verdict.ACCEPTED)
        assert {(p.first, p.second) for p in ames.agreement(draws=50).pairs} == {("model", "ames@example.org")}
        assert {p.n for p in self.desk(room, "lee").agreement(draws=50).pairs} == {1}
        assert len({(p.first, p.second) for p in root.agreement(draws=50).pairs}) == 4
        with pytest.raises(AccessError, match="only a lead"):
            ames.drift()

    def test_readers_see_each_other_when_they_have_signed_off(self, room: ReadingRoom) -> None:
        ames, bell, lee = (self.desk(room, name) for name in ("ames", "bell", "lee"))
        handle = handle_of(ames, 1)
        bell.decide(handle, NODULE, Verdict.ACCEPTED, comment="clear")
        assert ames.case(handle).history == ()
        assert "bell@example.org" in lee.case(handle).readings
        ames.decide(handle, NODULE, Verdict.REJECTED)
        ames.sign_off(handle)
        assert set(ames.case(handle).readings) == {"ames@example.org", "bell@example.org"}
        assert set(bell.case(handle).readings) == {"bell@example.org"}


def test_handles_are_random_and_stay(tmp_path: Path) -> None:
    first = {
        row.accession_number: row.handle for row in desk_of(write_results(tmp_path, prediction(1, 0.9))).page().rows
    }
    second = desk_of(write_results(tmp_path, prediction(1, 0.3), prediction(2, 0.9))).page().rows
    assert {row.accession_number: row.handle for row in second}["A1"] == first["A1"]
    other = desk_of(write_results(tmp_path.with_name("other"), prediction(1, 0.9))).page().rows
    assert other[0].handle != first["A1"]
    assert all(len(row.handle) == 16 and "1.2" not in row.handle for row in second)
