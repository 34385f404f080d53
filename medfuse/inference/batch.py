"""Many studies, one after the other; one bad study never stops the rest."""

import logging
from collections.abc import Iterable, Iterator
from typing import Protocol

from medfuse.domain.prediction import Rejected, Scored, StudyOutcome
from medfuse.domain.study import Study
from medfuse.errors import StudyError

LOG = logging.getLogger(__name__)


class Scorer(Protocol):
    """What answers a study: `medfuse.inference.Predictor`, or a stand-in of a test."""

    def predict(self, study: Study) -> Scored:
        """Answer one study, or raise `StudyError`."""


def score_studies(scorer: Scorer, studies: Iterable[Study]) -> Iterator[tuple[Study, StudyOutcome]]:
    """Each study with its outcome, in order.

    A study that cannot be used is `Rejected` with its reason. A failure that nobody foresaw is `Rejected` too, as
    `UNEXPECTED_ERROR` with the kind of the failure alone: its message could hold what must not be written down.
    """
    for study in studies:
        yield study, outcome_of(scorer, study)


def outcome_of(scorer: Scorer, study: Study) -> StudyOutcome:
    """The outcome of one study."""
    try:
        return scorer.predict(study)
    except StudyError as error:
        return _rejected(study, error.reason, error.detail)
    except (ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        LOG.debug("unforeseen failure", exc_info=True)
        kind = type(error).__name__
        return _rejected(study, "UNEXPECTED_ERROR", f"scoring failed with {kind}; run this study alone with --verbose")


def _rejected(study: Study, reason: str, detail: str) -> Rejected:
    return Rejected(
        study_instance_uid=study.study_instance_uid,
        accession_number=study.accession_number,
        reason=reason,
        detail=detail,
    )
