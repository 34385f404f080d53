from pathlib import Path

import pytest

from medfuse.domain import Rejected, Scored, Study
from medfuse.errors import MissingInputError
from medfuse.inference import score_studies


class Scripted:
    """Fails as it is told to by the study's UID."""

    def predict(self, study: Study) -> Scored:
        if study.study_instance_uid == "1.1":
            raise MissingInputError("no series fits", reason="NO_FITTING_SERIES")
        if study.study_instance_uid == "1.2":
            raise RuntimeError("Doe^Jane")
        return Scored.__new__(Scored)


def test_a_bad_study_is_an_outcome_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    studies = [Study(study_instance_uid=f"1.{n}", patient_key="k", path=Path()) for n in range(4)]
    outcomes = [outcome for _, outcome in score_studies(Scripted(), studies)]
    assert [isinstance(outcome, Rejected) for outcome in outcomes] == [False, True, True, False]
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Rejected)] == [
        "NO_FITTING_SERIES",
        "UNEXPECTED_ERROR",
    ]
    assert not any("Doe" in getattr(outcome, "detail", "") for outcome in outcomes)
