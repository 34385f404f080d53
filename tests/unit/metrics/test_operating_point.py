import numpy as np
import pytest

from medfuse.metrics import choose_operating_point, sensitivity, specificity


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
