import numpy as np
import pytest

from medfuse.metrics import PointRule, choose_operating_point, sensitivity, specificity


def youden(labels: np.ndarray, scores: np.ndarray, point: float) -> float:
    return sensitivity(labels, scores, operating_point=point) + specificity(labels, scores, operating_point=point) - 1


def test_lies_halfway_in_the_gap_of_separable_scores() -> None:
    assert choose_operating_point([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("digits", [1, 8])
def test_no_threshold_has_a_larger_youden_index(seed: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random(40) < 0.3
    labels[:2] = True, False
    scores = np.round(rng.random(40) * 0.7 + labels * 0.3 * rng.random(40), digits)
    point = choose_operating_point(labels, scores)
    assert point is not None
    best = max(youden(labels, scores, t) for t in np.concatenate([np.unique(scores), [2.0]]))
    assert youden(labels, scores, point) == pytest.approx(best)


def test_of_equal_indices_the_most_sensitive_is_taken() -> None:
    # J is 1/2 at 0.8 (sensitivity 1/2, specificity 1) and at 0.4 (sensitivity 1, specificity 1/2).
    point = choose_operating_point([1, 0, 1, 0], [0.8, 0.6, 0.4, 0.2])
    assert point == pytest.approx(0.3)


@pytest.mark.parametrize("labels", [[], [1, 1], [0, 0]])
def test_one_class_has_none(labels: list[int]) -> None:
    assert choose_operating_point(labels, [0.5] * len(labels)) is None


def test_neighbouring_floats_do_not_swallow_the_case_below() -> None:
    low = 0.5
    high = float(np.nextafter(low, 1))
    point = choose_operating_point([0, 1], [low, high])
    assert point is not None
    assert low < point <= high


def test_all_scores_equal_calls_everybody() -> None:
    assert choose_operating_point([0, 1], [0.5, 0.5]) == 0.5


def made(seed: int, digits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(50) < 0.3
    labels[:2] = True, False
    return labels, np.round(rng.random(50) * 0.7 + labels * 0.3 * rng.random(50), digits)


def thresholds(scores: np.ndarray) -> np.ndarray:
    return np.concatenate([np.unique(scores), [2.0]])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("digits", [1, 8])
@pytest.mark.parametrize("wanted", [0.8, 0.95, 1.0])
def test_a_wanted_sensitivity_is_reached_as_specifically_as_can_be(seed: int, digits: int, wanted: float) -> None:
    labels, scores = made(seed, digits)
    point = choose_operating_point(labels, scores, PointRule(name="sensitivity", wanted=wanted))
    assert point is not None
    assert sensitivity(labels, scores, operating_point=point) >= wanted
    reach = [t for t in thresholds(scores) if sensitivity(labels, scores, operating_point=t) >= wanted]
    best = max(specificity(labels, scores, operating_point=t) for t in reach)
    assert specificity(labels, scores, operating_point=point) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(6))
def test_a_wanted_specificity_is_reached_as_sensitively_as_can_be(seed: int) -> None:
    labels, scores = made(seed)
    point = choose_operating_point(labels, scores, PointRule(name="specificity", wanted=0.9))
    assert specificity(labels, scores, operating_point=point) >= 0.9
    reach = [t for t in thresholds(scores) if specificity(labels, scores, operating_point=t) >= 0.9]
    best = max(sensitivity(labels, scores, operating_point=t) for t in reach)
    assert sensitivity(labels, scores, operating_point=point) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ratio", [0.1, 1.0, 5.0, 1000.0])
def test_no_threshold_costs_less(seed: int, ratio: float) -> None:
    labels, scores = made(seed)

    def cost(point: float) -> float:
        return ratio * (labels & (scores < point)).sum() + (~labels & (scores >= point)).sum()

    point = choose_operating_point(labels, scores, PointRule(name="cost", wanted=ratio))
    assert cost(point) == pytest.approx(min(map(cost, thresholds(scores))))


def test_a_costly_false_alarm_calls_nobody() -> None:
    labels, scores = [1, 0, 0, 0], [0.5, 0.6, 0.7, 1.0]
    point = choose_operating_point(labels, scores, PointRule(name="cost", wanted=0.01))
    assert point > 1.0


@pytest.mark.parametrize("text", ["youden", "sensitivity=0.95", "specificity=0.9", "cost=5"])
def test_a_rule_reads_as_it_is_written(text: str) -> None:
    assert str(PointRule.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("best", "expected youden"),
        ("youden=1", "expected youden"),
        ("sensitivity", "a number"),
        ("sensitivity=high", "a number"),
        ("sensitivity=1.5", "at most 1"),
        ("specificity=0", "above 0"),
        ("cost=0", "above 0"),
        ("cost=inf", "above 0"),
        ("cost=nan", "above 0"),
        ("", "expected youden"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        PointRule.parse(text)
