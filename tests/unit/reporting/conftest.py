"""A run with its evaluation, for the tests of this folder."""

from pathlib import Path

import pytest

from medfuse.evaluation import EvaluationReport, write_evaluation
from medfuse.reporting import RunArtifacts, read_artifacts
from tests.report_parts import STUDIES, make_evaluation, write_run

UIDS = [f"1.2.{n}" for n in range(STUDIES)]


@pytest.fixture(scope="session")
def evaluation() -> EvaluationReport:
    return make_evaluation(UIDS)


@pytest.fixture
def run(tmp_path: Path, evaluation: EvaluationReport) -> Path:
    """A run folder, with `evaluation.json` beside it."""
    write_run(tmp_path / "run", UIDS)
    write_evaluation(evaluation, tmp_path / "evaluation.json")
    return tmp_path / "run"


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory, evaluation: EvaluationReport) -> RunArtifacts:
    """What such a run holds; shared, since records do not change."""
    folder = tmp_path_factory.mktemp("reported")
    write_run(folder / "run", UIDS)
    write_evaluation(evaluation, folder / "evaluation.json")
    return read_artifacts(folder / "run", folder / "evaluation.json")
