"""What is read first, and the sentence that says why."""

import dataclasses

import pytest

from medfuse.domain import Finding, LabelValue
from medfuse.outputs import ScoreRow
from medfuse.review.triage import LEAKAGE, UNFAMILIAR, is_unsure, triage_of, uncertainty_of
from tests.unit.review.rooms import prediction

ROW = ScoreRow(
    study_instance_uid="1", accession_number="", status="scored", reason="", model="m", probabilities={}, volumes_mm3={}
)
P, A = LabelValue.PRESENT, LabelValue.ABSENT


def test_from_the_top_present_doubtful_unscored_the_rest() -> None:
    order = [
        triage_of(ROW, prediction(1, 0.99)),
        triage_of(ROW, prediction(1, 0.5)),
        triage_of(ROW, prediction(1, 0.2, unfamiliar=True)),
        triage_of(ROW, prediction(1, 0.2, unsure=True)),
        triage_of(ROW, prediction(1, 0.2, quality=("MOTION",))),
        triage_of(dataclasses.replace(ROW, status="rejected", reason="MIXED_PATIENTS"), None),
        triage_of(ROW, prediction(1, 0.3)),
        triage_of(ROW, prediction(1, 0.01, 0.01)),
    ]
    priorities = [one.priority for one in order]
    assert priorities == sorted(priorities, reverse=True)
    assert len(set(priorities)) == len(priorities)
    assert all(one.reason.endswith(".") and "\n" not in one.reason for one in order)


def test_the_reason_counts_what_else_is_present() -> None:
    assert triage_of(ROW, prediction(1, 0.9, 0.8)).reason.endswith("1 more called present.")


def test_a_leaky_model_is_flagged_and_that_alone_raises_nothing() -> None:
    leaky = prediction(1, 0.2)
    leaky = dataclasses.replace(leaky, model=dataclasses.replace(leaky.model, leakage_allowed=True), missing=("text",))
    found = triage_of(ROW, leaky)
    assert found.flags == (LEAKAGE, "MISSING_TEXT")
    assert found.reason == "Something is odd about the input: MISSING_TEXT."
    assert triage_of(ROW, prediction(1, 0.2, unfamiliar=True)).flags == (UNFAMILIAR,)


def test_segments_alone() -> None:
    assert triage_of(ROW, None).reason == "Segments only: the model says nothing of findings."


@pytest.mark.parametrize(
    ("probability", "point", "expected"),
    [(0.5, 0.5, 1), (0, 0.5, 0), (1, 0.5, 0), (0.1, 0.2, 0.5), (1, 1, 1), (0, 0, 1)],
)
def test_uncertainty_is_the_closeness_to_the_operating_point(probability: float, point: float, expected: float) -> None:
    found = uncertainty_of(Finding(name="f", probability=probability, operating_point=point))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"probability": 0.9}, False),
        ({"probability": 0.52}, True),
        ({"probability": 0.52, "prediction_set": (P,)}, False),
        ({"probability": 0.99, "prediction_set": (P, A)}, True),
        ({"probability": 0.99, "prediction_set": ()}, True),
        ({"probability": 0.7, "spread": 0.3}, True),
        ({"probability": 0.7, "spread": 0.1}, False),
    ],
)
def test_when_the_model_is_not_sure(fields: dict[str, object], expected: bool) -> None:
    assert is_unsure(Finding(name="f", operating_point=0.5, **fields)) is expected  # type: ignore[arg-type]
