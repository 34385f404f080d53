"""A folder that is filled: what goes wrong with a study stays with that study, and nothing is done twice."""

import json
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from medfuse.batch import Ledger, Limits, ScoringSession, SessionOptions, State
from medfuse.batch.gates import Policy
from medfuse.batch.worker import Worker
from medfuse.domain import Rejected, Study
from medfuse.errors import StorageError, StudyError, UsageError
from medfuse.outputs import read_prediction, read_scores
from tests.unit.batch import stand_in

LIMITS = Limits(seconds=8.0, memory_bytes=500 << 20)
"""The two studies that hang do so at the same time, in two processes."""


def fill(
    output: Path,
    studies: list[Study],
    *,
    again: bool = False,
    retry: tuple[str, ...] = (),
    model_hash: str = "one",
    settings: dict[str, object] | None = None,
    is_isolated: bool = False,
) -> dict[str, str]:
    """Score studies in a session of its own; gives each study's status or reason, of those that were in hand."""
    options = SessionOptions(limits=LIMITS, settings=settings or {}, is_isolated=is_isolated)
    with ScoringSession(output, stand_in.factories(output, model_hash=model_hash), options) as session:
        plan = session.plan(map(stand_in.job, studies), again=again, retry=retry)
        outcomes = list(session.run(plan.jobs))
    return {
        (one.study_instance_uid if isinstance(one, Rejected) else one.prediction.study_instance_uid): (
            one.reason if isinstance(one, Rejected) else "scored"
        )
        for one in outcomes
    }


def rows_of(output: Path) -> dict[str, str]:
    return {row.study_instance_uid: row.reason or row.status for row in read_scores(output / "scores.csv")}


def test_every_study_ends_with_a_result_or_a_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = {
        1: "fine",
        2: "crash-reading",
        3: "fine",
        4: "crash-network",
        5: "hang-network",
        6: "hang-reading",
        7: "refuse-reading",
        8: "fault-network",
        9: "exit-writing",
        10: "eat-reading",
        11: "fine",
    }
    studies = [stand_in.study(tmp_path, number, word) for number, word in words.items()]
    output = tmp_path / "out"
    found = fill(output, studies, is_isolated=True)
    expected = {
        "1.2.1": "scored",
        "1.2.2": "WORKER_CRASHED",
        "1.2.3": "scored",
        "1.2.4": "WORKER_CRASHED",
        "1.2.5": "TIME_LIMIT",
        "1.2.6": "TIME_LIMIT",
        "1.2.7": "NO_FITTING_SERIES",
        "1.2.8": "UNEXPECTED_ERROR",
        "1.2.9": "WORKER_CRASHED",
        "1.2.10": "MEMORY_LIMIT",
        "1.2.11": "scored",
    }
    assert found == expected
    assert rows_of(output) == expected
    with Ledger(output / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.counts() == {State.QUEUED: 0, State.RUNNING: 0, State.SCORED: 3, State.REJECTED: 8}
        assert ledger.reasons()["WORKER_CRASHED"] == 3
        details = [row.detail for row in ledger.rows(State.REJECTED)]
        scored = ledger.get("1.2.1")
    assert not any(stand_in.PLANTED in detail for detail in [*details, caplog.text])
    assert any("SIGSEGV" in detail for detail in details)
    assert scored is not None
    assert set(scored.timings) == {"read", "network", "save"}
    assert sorted(path.name for path in output.iterdir() if path.is_dir()) == ["1.2.1", "1.2.11", "1.2.3"]


def test_only_what_is_new_changed_or_asked_for_is_done(tmp_path: Path) -> None:
    output = tmp_path / "out"
    studies = [stand_in.study(tmp_path, number, "refuse-reading" if number == 2 else "fine") for number in range(4)]
    assert Counter(fill(output, studies).values()) == {"scored": 3, "NO_FITTING_SERIES": 1}
    assert fill(output, studies) == {}
    more = [*studies, stand_in.study(tmp_path, 9)]
    assert fill(output, more) == {"1.2.9": "scored"}
    studies[1] = stand_in.study(tmp_path, 1, "fine, but changed")
    assert fill(output, studies) == {"1.2.1": "scored"}
    assert fill(output, studies, retry=("WORKER_CRASHED",)) == {}
    assert fill(output, studies, retry=("NO_FITTING_SERIES",)) == {"1.2.2": "NO_FITTING_SERIES"}
    stand_in.study(tmp_path, 2, "fine")
    assert fill(output, studies) == {"1.2.2": "scored"}
    assert fill(output, studies, settings={"augmentations": 2}) == {f"1.2.{n}": "scored" for n in range(4)}
    assert len(fill(output, studies, again=True)) == 4
    assert len(rows_of(output)) == 5


def test_another_model_scores_everything_anew(tmp_path: Path) -> None:
    output = tmp_path / "out"
    studies = [stand_in.study(tmp_path, 1)]
    fill(output, studies)
    assert fill(output, studies, model_hash="two") == {"1.2.1": "scored"}
    assert read_prediction(output / "1.2.1" / "prediction.json").model.weights_sha256.startswith("two")


def test_a_result_or_a_row_that_is_gone_comes_back(tmp_path: Path) -> None:
    output = tmp_path / "out"
    studies = [stand_in.study(tmp_path, number, "refuse-reading" if number == 2 else "fine") for number in range(3)]
    fill(output, studies)
    before = (output / "scores.csv").read_bytes()
    (output / "scores.csv").unlink()
    assert fill(output, studies) == {}
    assert sorted((output / "scores.csv").read_bytes().splitlines()) == sorted(before.splitlines())
    (output / "1.2.0" / "prediction.json").unlink()
    assert fill(output, studies) == {"1.2.0": "scored"}


def test_a_second_process_is_told_that_the_folder_is_taken(tmp_path: Path) -> None:
    options = SessionOptions(is_isolated=False)
    with (
        ScoringSession(tmp_path, stand_in.factories(tmp_path), options),
        pytest.raises(UsageError, match="another process"),
        ScoringSession(tmp_path, stand_in.factories(tmp_path), options),
    ):
        pass
    with ScoringSession(tmp_path, stand_in.factories(tmp_path), options):
        pass


def test_a_run_that_is_left_in_the_middle_leaves_nothing_running(tmp_path: Path) -> None:
    output = tmp_path / "out"
    studies = [stand_in.study(tmp_path, number) for number in range(6)]
    options = SessionOptions(limits=LIMITS)
    with ScoringSession(output, stand_in.factories(output, seconds=0.05), options) as session:
        outcomes = session.run(session.plan(map(stand_in.job, studies)).jobs)
        next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]
    with Ledger(output / "ledger.sqlite", read_only=True) as ledger:
        counts = ledger.counts()
        assert counts[State.RUNNING] == 0
        assert counts[State.SCORED] >= 1
        assert all(row.attempts == (row.state is State.SCORED) for row in ledger.rows())
    assert not list(output.glob(".*"))
    assert len(fill(output, studies)) == 6 - counts[State.SCORED]


def test_a_protected_result_stays_and_the_rest_is_scored(tmp_path: Path) -> None:
    output = tmp_path / "out"
    studies = [stand_in.study(tmp_path, number) for number in range(3)]
    fill(output, studies)
    kept = (output / "1.2.1" / "prediction.json").read_bytes()
    (output / "1.2.1").chmod(0o555)
    try:
        found = fill(output, studies, again=True)
    finally:
        (output / "1.2.1").chmod(0o755)
    assert found == {"1.2.0": "scored", "1.2.1": "OUTPUT_NOT_WRITABLE", "1.2.2": "scored"}
    assert (output / "1.2.1" / "prediction.json").read_bytes() == kept


def full_disk(output: Path) -> tuple[object, None]:
    """A stage that finds the disk full."""

    def write(task: object) -> None:
        raise StorageError("cannot write it: no space left") from OSError(28, "No space left on device")

    return write, None


def test_a_full_disk_ends_the_run_and_the_same_run_goes_on_later(tmp_path: Path) -> None:
    import dataclasses
    import functools

    output = tmp_path / "out"
    studies = [stand_in.study(tmp_path, number) for number in range(3)]
    full = dataclasses.replace(stand_in.factories(output), writing=functools.partial(full_disk, output))
    with (
        pytest.raises(StorageError, match="no space left"),
        ScoringSession(output, full, SessionOptions(limits=LIMITS)) as session,
    ):
        list(session.run(session.plan(map(stand_in.job, studies)).jobs))
    assert rows_of(output) == {}
    assert len(fill(output, studies)) == 3


def test_a_model_that_cannot_be_loaded_ends_the_run(tmp_path: Path) -> None:
    import dataclasses

    broken = dataclasses.replace(stand_in.factories(tmp_path), network=stand_in.broken)
    with (
        pytest.raises(UsageError, match="no model here"),
        ScoringSession(tmp_path, broken, SessionOptions(limits=LIMITS)) as session,
    ):
        session.plan([])


def test_rejections_of_the_search_are_told_once(tmp_path: Path) -> None:
    refused = [
        Rejected(study_instance_uid="1.9", reason="MIXED_PATIENTS", detail="two patients"),
        Rejected(study_instance_uid="", reason="UNREADABLE_FILE", detail="a file"),
    ]
    for expected in (2, 0):
        with ScoringSession(tmp_path, stand_in.factories(tmp_path), SessionOptions(is_isolated=False)) as session:
            assert len(session.refuse(refused)) == expected
    assert [row.reason for row in read_scores(tmp_path / "scores.csv")] == ["MIXED_PATIENTS", "UNREADABLE_FILE"]


def test_a_process_that_died_idle_costs_no_study(tmp_path: Path) -> None:
    from medfuse.batch.stages import ReadingTask

    worker = Worker("reading", stand_in.reading, LIMITS)
    _, facts = stand_in.network()
    task = ReadingTask(study=stand_in.study(tmp_path, 1), model=facts, policy=Policy())
    try:
        worker.call(task)
        assert worker._process is not None
        worker._process.kill()
        worker._process.join()
        assert worker.call(task)
    finally:
        worker.stop()


def test_a_stopped_worker_ends_the_call_in_hand(tmp_path: Path) -> None:
    from medfuse.batch.stages import ReadingTask
    from medfuse.batch.worker import Stopped

    worker = Worker("reading", stand_in.reading, Limits(seconds=None))
    _, facts = stand_in.network()
    task = ReadingTask(study=stand_in.study(tmp_path, 1, "hang-reading"), model=facts, policy=Policy())
    worker.hello()
    threading.Timer(0.3, worker.stop).start()
    with pytest.raises(Stopped):
        worker.call(task)
    with pytest.raises(Stopped):
        worker.call(task)


def test_what_a_process_died_of_is_said(tmp_path: Path) -> None:
    from medfuse.batch.worker import _manner

    assert _manner(-signal.SIGKILL) == " of SIGKILL, as it does when the system is out of memory"
    assert _manner(3) == " with exit code 3"
    assert _manner(None) == ""


def test_the_ledger_refuses_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ledger\.sqlite"):
        Ledger(tmp_path / "ledger.sqlite", read_only=True)
    (tmp_path / "ledger.sqlite").write_text(json.dumps({"no": "database"}) * 100)
    with pytest.raises(UsageError, match="no ledger"):
        Ledger(tmp_path / "ledger.sqlite")


def test_flags_reject_by_policy() -> None:
    from medfuse.domain import QualityFlag
    from medfuse.errors import ConfigError

    flags = (QualityFlag(code="TOO_FEW_SLICES", detail="3 slices"), QualityFlag(code="MISSING_REPORT", detail="none"))
    assert Policy().judge(flags) == flags
    with pytest.raises(StudyError, match="3 slices") as refused:
        Policy().rejecting(["TOO_FEW_SLICES"]).judge(flags)
    assert refused.value.reason == "TOO_FEW_SLICES"
    ignoring = Policy.of({"MISSING_REPORT": "ignore"}, "policy.yaml")
    assert [flag.code for flag in ignoring.judge(flags)] == ["TOO_FEW_SLICES"]
    assert len(Policy().rejecting(["all"]).actions) == 9
    for wrong in ({"NO_SUCH_CODE": "reject"}, {"TOO_FEW_SLICES": "maybe"}, ["TOO_FEW_SLICES"]):
        with pytest.raises(ConfigError):
            Policy.of(wrong, "policy.yaml")
