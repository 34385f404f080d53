"""Pooled folds: each study once, at the operating point of the fold that scored it."""

from dataclasses import replace

import pytest

from medfuse.domain import LabelSet, LabelValue, ModelIdentity
from medfuse.errors import UsageError
from medfuse.evaluation import Case, Subject, evaluate_folds
from medfuse.evaluation.run import Collected

MODEL = ModelIdentity(name="run", version="1", weights_sha256="w", config_sha256="c")


def fold(number: int, point: float | None, probabilities: list[float]) -> Collected:
    """Alternately ABSENT and PRESENT studies, each of its own patient."""
    cases = tuple(
        Case(
            study_instance_uid=f"{number}.{n}",
            patient_key=f"p{number}.{n}",
            labels={"nodule": LabelValue.PRESENT if n % 2 else LabelValue.ABSENT},
            probabilities={"nodule": probability},
            dice={"left": 0.1 * (number + 1)},
        )
        for n, probability in enumerate(probabilities)
    )
    labels = LabelSet(findings=("nodule",), segments=("left",))
    calibrated = frozenset() if point is None else frozenset({"nodule"})
    subject = Subject(label_set=labels, split="test", operating_points={"nodule": point}, calibrated=calibrated)
    return Collected(cases=cases, rejected=(), subject=subject)


def test_each_study_is_called_at_the_point_of_its_fold() -> None:
    folds = {"fold-0": fold(0, 0.2, [0.1, 0.3, 0.1, 0.3]), "fold-1": fold(1, 0.8, [0.7, 0.9, 0.7, 0.8])}
    report = evaluate_folds(folds, MODEL, draws=20)
    (nodule,) = report.findings
    assert (nodule.sensitivity.value, nodule.specificity.value) == (1.0, 1.0)
    assert nodule.operating_point is None
    assert nodule.calibrated
    assert nodule.auroc.value == 0.75  # of 16 pairs, two ABSENT of fold 1 lie above two PRESENT of fold 0
    assert [one.auroc["nodule"].value for one in report.folds] == [1.0, 1.0]
    assert [one.dice["left"].value for one in report.folds] == pytest.approx([0.1, 0.2])
    assert report.segments[0].dice.value == pytest.approx(0.15)
    assert (report.studies, report.model) == (8, MODEL)


def test_a_fold_without_a_point_leaves_the_pool_without_calls() -> None:
    folds = {"fold-0": fold(0, 0.2, [0.1, 0.3]), "fold-1": fold(1, None, [0.7, 0.9])}
    (nodule,) = evaluate_folds(folds, MODEL, draws=20).findings
    assert nodule.sensitivity.value is None
    assert "no operating point" in nodule.sensitivity.reason
    assert not nodule.calibrated


def test_a_study_of_two_folds_is_refused() -> None:
    one = fold(0, 0.2, [0.1, 0.3])
    with pytest.raises(UsageError, match="2 studies are in the test sets of two folds"):
        evaluate_folds({"fold-0": one, "fold-1": replace(one)}, MODEL, draws=20)
