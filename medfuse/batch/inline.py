"""The stages of scoring in this process, one study after the other: for finding faults, and for a handful of studies.

No limit holds here, and what crashes a stage ends the run; the results are those of the three processes.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from medfuse.batch.gates import Policy
from medfuse.batch.pipeline import Begun, Ended, Event, Job, fault_of_the_study
from medfuse.batch.stages import ModelFacts, ReadingTask, StageFactories
from medfuse.batch.worker import UNFORESEEN, Limits, unforeseen
from medfuse.domain import StudyOutcome
from medfuse.errors import StorageError, StudyError

LOG = logging.getLogger(__name__)


class InlinePipeline:
    """As `Pipeline`, without its processes.

    Args:
        factories: What the stages do.
        output: The folder that the last one writes to.
        limits: Not looked at.
        policy: What to do about odd studies.
    """

    def __init__(self, factories: StageFactories, output: Path, limits: Limits, policy: Policy) -> None:
        self._factories = factories
        self._output = output
        self._policy = policy

    def __enter__(self) -> "InlinePipeline":
        self._network, facts = self._factories.network()
        self._model: ModelFacts = facts
        self._read, _ = self._factories.reading()
        self._write, _ = self._factories.writing()
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    @property
    def model(self) -> ModelFacts:
        """What the network says of the model."""
        return self._model

    def run(self, jobs: Iterable[Job]) -> Iterator[Event]:
        """Score studies; gives what happens, each study's outcome exactly once.

        Raises:
            StorageError: Results cannot be written; the study in hand has no outcome.
        """
        for job in jobs:
            yield Begun(job=job)
            try:
                outcome = self._outcome(job)
            finally:
                job.close()
            yield Ended(job=job, outcome=outcome)

    def _outcome(self, job: Job) -> StudyOutcome:
        try:
            task = ReadingTask(study=job.open(), model=self._model, policy=self._policy)
            outcome: StudyOutcome = self._write(self._network(self._read(task)))
        except StudyError as error:
            return job.rejected(error)
        except StorageError as error:
            return job.rejected(fault_of_the_study(error, self._output))
        except UNFORESEEN as error:
            LOG.debug("unforeseen failure", exc_info=True)
            return job.rejected(unforeseen(error))
        return outcome
