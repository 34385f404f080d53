"""A folder of results that is being filled: its lock, its ledger, its table, and the processes that score.

The order in which a result becomes true: the study's folder (aside, fsync, rename), then the ledger's commit, then the
row of `scores.csv`. A kill between two of them leaves a study that is scored again, or a row that the next opening
writes from the ledger and the folder.
"""

import contextlib
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from medfuse.batch.fingerprints import settings_hash
from medfuse.batch.gates import Policy
from medfuse.batch.inline import InlinePipeline
from medfuse.batch.ledger import LEDGER_FILE, Entry, Ledger, LedgerRow, State, Task
from medfuse.batch.pipeline import Begun, Ended, Job, Pipeline
from medfuse.batch.sources import PASSING, StudyPlace
from medfuse.batch.stages import ModelFacts, StageFactories
from medfuse.batch.worker import Limits
from medfuse.domain import Rejected, Scored, StudyOutcome
from medfuse.errors import StorageError, UsageError
from medfuse.outputs import ScoreTable, read_prediction, read_scores
from medfuse.storage import held, storage, sweep, write_file

LOG = logging.getLogger(__name__)
TABLE_FILE, SOURCES_FILE, PREDICTION_FILE = "scores.csv", "sources.json", "prediction.json"
_LOCK_TRIES, _LOCK_PAUSE_S = 5, 0.2
RETRY_ALL = "rejected"
"""Names every reason, where reasons to try again are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How a folder is filled.

    Args:
        limits: What a study may take of each process.
        policy: What to do about studies that are unlike those of training.
        settings: What else decides the results, as plain data: a result of other settings is scored again.
        is_isolated: Whether each stage has a process of its own, which may crash or hang.
    """

    limits: Limits = field(default_factory=Limits)
    policy: Policy = field(default_factory=Policy)
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_isolated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is going to do.

    Args:
        jobs: The studies to score.
        kept: How many are scored already, by this model and from these files.
        kept_rejected: How many were rejected before, and are not tried again.
    """

    jobs: tuple[Job, ...]
    kept: int
    kept_rejected: int


class ScoringSession:
    """An open folder of results; a context manager. One process fills a folder at a time.

    Args:
        output: The folder; made when it is not there.
        factories: The stages, each built in a process of its own.
        options: How.

    Raises:
        UsageError: Another process fills the folder, the model cannot be loaded, or the table is of another model.
        StorageError: The folder cannot be written.
    """

    def __init__(self, output: Path, factories: StageFactories, options: SessionOptions) -> None:
        self.output = output
        self._factories = factories
        self._options = options
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "ScoringSession":
        with contextlib.ExitStack() as stack:
            with storage(self.output):
                self.output.mkdir(parents=True, exist_ok=True)
            self._lock(stack)
            with storage(self.output):
                sweep(self.output)
            self._ledger = stack.enter_context(Ledger(self.output / LEDGER_FILE))
            self._run = self._ledger.begin_run()
            stack.callback(self._end_run)
            options = self._options
            kind = Pipeline if options.is_isolated else InlinePipeline
            self._pipeline: Pipeline | InlinePipeline = kind(
                self._factories, self.output, options.limits, options.policy
            )
            stack.enter_context(self._pipeline)
            self._table: ScoreTable | None = None
            self._is_clock_running = False
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)

    def _lock(self, stack: contextlib.ExitStack) -> None:
        """Take the folder's lock, which the system drops when this process dies; Windows knows none."""
        for _ in range(_LOCK_TRIES):
            with contextlib.ExitStack() as trial:
                if trial.enter_context(held(self.output)) or sys.platform == "win32":
                    stack.push(trial.pop_all())
                    return
            time.sleep(_LOCK_PAUSE_S)  # somebody may only have asked for the status
        raise UsageError(f"another process scores into {self.output}; wait for it, or choose another folder")

    def _end_run(self) -> None:
        with contextlib.suppress(StorageError):  # the disk is full: the next run finds the same
            self._ledger.end_run(self._run)
            sweep(self.output)

    @property
    def model(self) -> ModelFacts:
        """The model; waits until it is loaded."""
        return self._pipeline.model

    @property
    def task(self) -> Task:
        """What studies are scored by."""
        return Task(model_hash=self.model.model_hash, settings_hash=settings_hash(self._options.settings))

    @property
    def table(self) -> ScoreTable:
        """The table, in which every outcome of the ledger has its row."""
        if self._table is None:
            model = self.model
            path = self.output / TABLE_FILE
            table = ScoreTable(path, model.label_set, model=model.identity, ensemble=model.is_ensemble)
            self._table = self._open.enter_context(table)
            self._mend(self._table)
        return self._table

    def plan(self, jobs: Iterable[Job], *, again: bool = False, retry: Collection[str] = ()) -> Plan:
        """Queue what has to be scored; what this model has scored from these files is left alone.

        Args:
            jobs: The studies of the input.
            again: Score everything anew.
            retry: Reasons whose studies are tried again; `rejected` for every reason.
        """
        task = self.task
        _ = self.table  # before anything is queued: a table of another label set ends the run
        left: list[Job] = []
        counts: Counter[State] = Counter()
        for job in jobs:
            row = None if again else self._ledger.get(job.key)
            if row is None or not self._is_settled(row, job, task, retry):
                left.append(job)
            else:
                counts[row.state] += 1
        self._ledger.queue(map(_entry, left), task)
        return Plan(jobs=tuple(left), kept=counts[State.SCORED], kept_rejected=counts[State.REJECTED])

    def unknown_reasons(self, reasons: Collection[str]) -> list[str]:
        """Those of some reasons for which the ledger knows no rejection."""
        known = {RETRY_ALL, *self._ledger.reasons()}
        return [reason for reason in reasons if reason not in known]

    def refuse(self, rejected: Iterable[Rejected]) -> list[Rejected]:
        """Take down studies, and files of no study, that cannot even become a job; gives those that are new."""
        task, table = self.task, self.table
        new = []
        for one in rejected:
            entry = Entry(
                key=one.study_instance_uid or f"file:{settings_hash({one.reason: one.detail})}",
                study_instance_uid=one.study_instance_uid,
                accession_number=one.accession_number,
                input_hash=settings_hash({one.reason: one.detail}),
            )
            row = self._ledger.get(entry.key)
            if row is not None and row.state is State.REJECTED and row.input_hash == entry.input_hash:
                continue
            self._ledger.queue([entry], task)
            self._ledger.rejected(entry.key, one.reason, one.detail)
            table.append(one)
            new.append(one)
        return new

    def run(self, jobs: Sequence[Job]) -> Iterator[StudyOutcome]:
        """Score studies that `plan` gave; each outcome comes once its files, the ledger and its row are on the disk.

        Raises:
            StorageError: Results cannot be written; the same run goes on later.
        """
        table = self.table
        if not self._is_clock_running:
            self._ledger.start_clock(self._run)
            self._is_clock_running = True
        for event in self._pipeline.run(jobs):
            match event:
                case Begun(job=job):
                    self._ledger.started(job.key)
                case Ended(job=job, outcome=Scored(prediction=prediction) as outcome):
                    self._ledger.scored(job.key, prediction.timings, [flag.code for flag in prediction.quality])
                    table.append(outcome)
                    yield outcome
                case Ended(job=job, outcome=Rejected() as outcome):
                    self._ledger.rejected(job.key, outcome.reason, outcome.detail)
                    table.append(outcome)
                    yield outcome

    def _is_settled(self, row: LedgerRow, job: Job, task: Task, retry: Collection[str]) -> bool:
        is_same = (row.input_hash, row.model_hash, row.settings_hash) == (
            job.input_hash,
            task.model_hash,
            task.settings_hash,
        )
        if not is_same:
            return False
        if row.state is State.REJECTED:
            return row.reason not in PASSING and not {RETRY_ALL, row.reason} & set(retry)
        return row.state is State.SCORED and self._prediction_file(row).is_file()

    def _prediction_file(self, row: LedgerRow) -> Path:
        return self.output / row.study_instance_uid / PREDICTION_FILE

    def _mend(self, table: ScoreTable) -> None:
        """Write the rows that a crash kept from the table; queue studies whose results somebody removed."""
        rows = read_scores(self.output / TABLE_FILE)
        there = Counter((row.study_instance_uid, str(row.status), row.reason) for row in rows)
        gone = []
        for row in self._ledger.rows(State.SCORED, State.REJECTED):
            reason = row.reason if row.state is State.REJECTED else ""
            mark = (row.study_instance_uid, row.state.value, reason)
            there[mark] -= 1
            if there[mark] >= 0:
                continue
            outcome = self._outcome_of(row)
            if outcome is None:
                gone.append(row.key)
            elif self._fits(outcome):
                table.append(outcome)
        self._ledger.requeue(gone)

    def _outcome_of(self, row: LedgerRow) -> StudyOutcome | None:
        """The outcome that the ledger knows of; None when its files are gone."""
        if row.state is State.SCORED:
            try:
                prediction = read_prediction(self._prediction_file(row))
            except UsageError:
                return None
            return Scored(prediction=replace(prediction, timings=row.timings))
        return Rejected(
            study_instance_uid=row.study_instance_uid,
            accession_number=row.accession_number,
            reason=row.reason,
            detail=row.detail,
        )

    def _fits(self, outcome: StudyOutcome) -> bool:
        """Whether the table has the columns for an outcome; one of an earlier model may need others."""
        if isinstance(outcome, Rejected):
            return True
        label_set = self.model.label_set
        findings = {finding.name for finding in outcome.prediction.findings}
        segments = {segment.name for segment in outcome.prediction.segment_volumes}
        targets = {target.name for target in outcome.prediction.targets}
        return (
            findings == set(label_set.findings)
            and segments in (set(), set(label_set.segments))
            and targets in (set(), {target.name for target in label_set.targets})
        )


def write_sources(places: Mapping[str, StudyPlace], output: Path) -> None:
    """Note where each study lies, and whose it is, for the dashboard; studies noted before stay.

    Args:
        places: Study Instance UID -> where the study is found.
        output: The folder of results.

    Raises:
        UsageError: The notes there are broken.
        StorageError: They cannot be written.
    """
    path = output / SOURCES_FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise UsageError(f"{path} is broken; remove it and score again, which writes it anew") from error
    new = known | {
        uid: {"path": str(place.path.resolve()), "patient_key": place.patient_key} for uid, place in places.items()
    }
    if new != known or not path.is_file():
        text = json.dumps(new, indent=1)
        write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def _entry(job: Job) -> Entry:
    return Entry(
        key=job.key,
        study_instance_uid=job.study_instance_uid,
        accession_number=job.accession_number,
        input_hash=job.input_hash,
    )
