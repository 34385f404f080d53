"""Reading the next study, the network on this one and writing the last one, at once.

Each stage is a process (`worker`) with a thread here that feeds it; between two stages waits one study at most, so that
memory does not grow with the number of studies. A study that fails in a stage leaves there with its reason.
"""

import errno
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfuse.batch.gates import Policy
from medfuse.batch.stages import ModelFacts, ReadingTask, StageFactories
from medfuse.batch.worker import FAILURES, UNFORESEEN, Limits, Stopped, Worker, unforeseen, unpack
from medfuse.domain import Rejected, Study, StudyOutcome
from medfuse.errors import StorageError, StudyError
from medfuse.storage import sweep, write_file

LOG = logging.getLogger(__name__)
_POLL_S = 0.2
_JOIN_S = 10.0
_EVERYBODY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Failures to write that the next study would meet too."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """A study to score.

    Args:
        key: What tells it from every other one.
        study_instance_uid: May be empty.
        accession_number: May be empty.
        input_hash: Changes when its files do.
        open: Gives the study; may take its time (fetch it), and raises `StudyError` when it cannot.
        close: Called when the study is done with.
    """

    key: str
    study_instance_uid: str
    accession_number: str = ""
    input_hash: str
    open: Callable[[], Study]
    close: Callable[[], None] = lambda: None

    def rejected(self, error: StudyError) -> Rejected:
        """The outcome of this study when it failed."""
        return Rejected(
            study_instance_uid=self.study_instance_uid,
            accession_number=self.accession_number,
            reason=error.reason,
            detail=error.detail,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Begun:
    """A study is in hand."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ended:
    """A study has its outcome, which is on the disk if it is `Scored` (then without its label map)."""

    job: Job
    outcome: StudyOutcome


Event = Begun | Ended


class Pipeline:
    """The three processes; a context manager that ends them.

    Args:
        factories: What they do.
        output: The folder that the last one writes to.
        limits: What a study may take of each.
        policy: What to do about odd studies.
    """

    def __init__(self, factories: StageFactories, output: Path, limits: Limits, policy: Policy) -> None:
        self._output = output
        self._policy = policy
        self._reading = Worker("reading", factories.reading, limits)
        self._network = Worker("network", factories.network, limits)
        self._writing = Worker("writing", factories.writing, limits)
        self._workers = (self._network, self._reading, self._writing)

    def __enter__(self) -> "Pipeline":
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    @property
    def model(self) -> ModelFacts:
        """What the network's process says of the model; waits until it is loaded.

        Raises:
            UsageError: It cannot be loaded.
        """
        facts: ModelFacts = self._network.hello()
        return facts

    def run(self, jobs: Iterable[Job]) -> Iterator[Event]:
        """Score studies; gives what happens, each study's outcome exactly once, not always in the order given.

        Raises:
            StorageError: Results cannot be written; the study in hand has no outcome.
            UsageError: A process cannot be started anew.
        """
        flow = _Flow()
        opened, read, answered = (queue.Queue[Any](maxsize=1) for _ in range(3))
        threads = [
            flow.thread(self._open, jobs, opened),
            flow.thread(self._read, opened, read),
            flow.thread(self._answer, read, answered),
            flow.thread(self._write, answered),
        ]
        is_over = False
        try:
            yield from flow.events()
            is_over = True
        finally:
            flow.stop.set()
            if not is_over:
                self._stop()
            until = time.monotonic() + _JOIN_S
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))

    def _stop(self) -> None:
        """End the three processes, at once."""
        with ThreadPoolExecutor(len(self._workers)) as pool:
            list(pool.map(Worker.stop, self._workers))

    def _open(self, flow: "_Flow", jobs: Iterable[Job], to: "queue.Queue[Any]") -> None:
        for job in jobs:
            if flow.stop.is_set():
                return
            try:
                study = job.open()
            except StudyError as error:
                flow.tell(Begun(job=job))
                flow.end(job, job.rejected(error))
                continue
            except UNFORESEEN as error:
                LOG.debug("unforeseen failure", exc_info=True)
                flow.tell(Begun(job=job))
                flow.end(job, job.rejected(unforeseen(error)))
                continue
            flow.put(to, (job, study))
        flow.put(to, None)

    def _read(self, flow: "_Flow", source: "queue.Queue[Any]", to: "queue.Queue[Any]") -> None:
        model = self.model
        for job, study in flow.items(source):
            flow.tell(Begun(job=job))
            task = ReadingTask(study=study, model=model, policy=self._policy)
            try:
                packed = self._reading.call(task)
            except StudyError as error:
                flow.end(job, job.rejected(error))
                continue
            flow.put(to, (job, packed))
            del packed
        flow.put(to, None)

    def _answer(self, flow: "_Flow", source: "queue.Queue[Any]", to: "queue.Queue[Any]") -> None:
        for job, packed in flow.items(source):
            try:
                answer = self._network.call(packed, is_packed=True)
            except StudyError as error:
                flow.end(job, job.rejected(error))
                continue
            finally:
                del packed
            flow.put(to, (job, answer))
            del answer
        flow.put(to, None)

    def _write(self, flow: "_Flow", source: "queue.Queue[Any]") -> None:
        for job, packed in flow.items(source):
            try:
                outcome: StudyOutcome = unpack(self._writing.call(packed, is_packed=True))
            except StudyError as error:
                sweep(self._output)
                outcome = job.rejected(error)
            except StorageError as error:
                outcome = job.rejected(fault_of_the_study(error, self._output))
            finally:
                del packed
            flow.end(job, outcome)
        flow.finish()


def fault_of_the_study(error: StorageError, output: Path) -> StudyError:
    """The rejection of a study whose place alone cannot be written.

    Args:
        error: What writing it raised.
        output: The folder of all results.

    Raises:
        StorageError: No other study could be written either.
    """
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _EVERYBODY:
        raise error
    probe = output / ".probe"
    write_file(probe, lambda aside: aside.write_bytes(b"\0"))
    probe.unlink(missing_ok=True)
    return StudyError(str(error), reason="OUTPUT_NOT_WRITABLE")


class _Flow:
    """What the threads of one run share: the events, and the word to stop."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._events: queue.Queue[Event | Exception | None] = queue.Queue(maxsize=16)

    def thread(self, work: Callable[..., None], *arguments: Any) -> threading.Thread:
        """Start a thread; what it raises ends the run."""

        def run() -> None:
            is_over = False
            try:
                work(self, *arguments)
                is_over = True
            except Stopped:
                self.stop.set()
            except FAILURES as error:
                self.tell(error)
                is_over = True
            finally:
                if not is_over:
                    self.stop.set()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def events(self) -> Iterator[Event]:
        """What happens, until all is done; raises what a thread raised."""
        while True:
            try:
                event = self._events.get(timeout=_POLL_S)
            except queue.Empty:
                if self.stop.is_set():
                    raise Stopped("a stage ended before its time") from None
                continue
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event

    def tell(self, event: Event | Exception | None) -> None:
        """Add an event."""
        self._put(self._events, event)

    def end(self, job: Job, outcome: StudyOutcome) -> None:
        """Let go of a study, and add its outcome."""
        job.close()
        self.tell(Ended(job=job, outcome=outcome))

    def finish(self) -> None:
        """Say that there is nothing more."""
        self.tell(None)

    def put(self, to: "queue.Queue[Any]", item: Any) -> None:
        """Hand something to the next stage, once it has room."""
        self._put(to, item)

    def items(self, source: "queue.Queue[Any]") -> Iterator[Any]:
        """What the stage before hands over."""
        while not self.stop.is_set():
            try:
                item = source.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if item is None:
                return
            yield item
            del item
        raise Stopped("the run was stopped")

    def _put(self, to: "queue.Queue[Any]", item: Any) -> None:
        while not self.stop.is_set():
            try:
                to.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return
        raise Stopped("the run was stopped")
