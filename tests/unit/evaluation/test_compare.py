import numpy as np
import pytest

from medfuse.domain import LabelValue
from medfuse.evaluation import Case, compare
from medfuse.metrics import auroc, estimate_by_patient


def made(count: int, noise: float, *, seed: int, dice: float = 0.5) -> list[Case]:
    """Two studies a patient; the probability of a PRESENT study is higher by 1 before the noise."""
    rng = np.random.default_rng(seed)
    return [
        Case(
            study_instance_uid=f"s{n}",
            patient_key=f"p{n // 2}",
            labels={"nodule": LabelValue.PRESENT if n % 2 else LabelValue.ABSENT},
            probabilities={"nodule": float(1 / (1 + np.exp(-(n % 2 + rng.normal(0, noise)))))},
            dice={"left": dice + 0.1 * (n % 3), "right": dice},
        )
        for n in range(count)
    ]


def test_a_difference_is_that_of_the_figures_and_says_who_is_better() -> None:
    good, poor = made(80, 0.3, seed=1, dice=0.6), made(80, 3.0, seed=2, dice=0.5)
    nodule, dice = compare(good, poor, ["nodule"], ["left", "right"], draws=200)
    truth = [n % 2 == 1 for n in range(80)]
    figures = [auroc(truth, [case.probabilities["nodule"] for case in cases]) for cases in (good, poor)]
    assert nodule.estimate.value == pytest.approx(figures[0] - figures[1])
    assert nodule.verdict == "better"
    assert dice.estimate.value == pytest.approx(0.1)
    back = compare(poor, good, ["nodule"], [], draws=200)
    assert [one.verdict for one in back] == ["worse"]


def test_a_model_does_not_differ_from_itself() -> None:
    cases = made(40, 1.0, seed=1)
    nodule, dice = compare(cases, cases, ["nodule"], ["left"], draws=50)
    assert (nodule.estimate.value, nodule.estimate.low, nodule.estimate.high) == (0, 0, 0)
    assert nodule.verdict == dice.verdict == "undecided"


def test_pairs_narrow_the_interval() -> None:
    """Both models stumble over the same studies: their difference is surer than each of them."""
    base = made(60, 1.5, seed=3)
    rng = np.random.default_rng(0)
    near = [
        Case(
            study_instance_uid=case.study_instance_uid,
            patient_key=case.patient_key,
            labels=case.labels,
            probabilities={"nodule": float(np.clip(case.probabilities["nodule"] + rng.normal(0, 0.01), 0, 1))},
        )
        for case in base
    ]
    (paired,) = compare(near, base, ["nodule"], [], draws=200)
    truth = np.array([n % 2 == 1 for n in range(60)])
    scores = np.array([case.probabilities["nodule"] for case in base])
    alone = estimate_by_patient(lambda i: auroc(truth[i], scores[i]), [case.patient_key for case in base], draws=200)
    assert paired.estimate.high - paired.estimate.low < (alone.high - alone.low) / 3


def test_only_studies_of_both_count_and_a_model_without_the_finding_has_no_difference() -> None:
    ours, theirs = made(40, 1.0, seed=1), made(30, 1.0, seed=2)
    nodule, dice = compare(ours, theirs, ["nodule"], ["left", "liver"], draws=20)
    assert nodule.estimate.n == 30
    assert dice.estimate.value is None
    assert dice.verdict == "n/a"
    (other,) = compare(ours, theirs, ["mass"], [], draws=20)
    assert other.estimate.n == 0
