import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score

from medfuse.metrics import auroc, average_precision, sensitivity, specificity


def made(seed: int, n: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    labels[:2] = True, False
    scores = rng.random(n)
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [2, 3, 17, 200])
def test_agrees_with_scikit_learn(n: int, ties: bool) -> None:
    for seed in range(5):
        labels, scores = made(seed, n, ties=ties)
        assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
        called = scores >= 0.3
        assert sensitivity(labels, scores, operating_point=0.3) == pytest.approx(recall_score(labels, called))
        assert specificity(labels, scores, operating_point=0.3) == pytest.approx(
            recall_score(labels, called, pos_label=0)
        )


def test_worked_example() -> None:
    # Of the four pairs of a positive and a negative three are in order and one is tied.
    labels, scores = [1, 1, 0, 0], [0.9, 0.4, 0.4, 0.1]
    assert auroc(labels, scores) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    # precision at each recall step: 1/1 for the first positive, 2/3 once 0.4 is reached
    assert average_precision(labels, scores) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_the_operating_point_itself_calls_present() -> None:
    assert sensitivity([1, 0], [0.5, 0.5], operating_point=0.5) == 1
    assert specificity([1, 0], [0.5, 0.5], operating_point=0.5) == 0


@pytest.mark.parametrize("labels", [[], [1], [0], [1, 1, 1], [0, 0]])
def test_one_class_or_no_case_is_undefined_never_zero(labels: list[int]) -> None:
    scores = np.linspace(0, 1, len(labels))
    assert math.isnan(auroc(labels, scores))
    assert math.isnan(average_precision(labels, scores))
    assert math.isnan(sensitivity(labels, scores, operating_point=0.5)) is (1 not in labels)
    assert math.isnan(specificity(labels, scores, operating_point=0.5)) is (0 not in labels)


def test_lists_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        auroc([1, 0], [0.1, 0.2, 0.3])
