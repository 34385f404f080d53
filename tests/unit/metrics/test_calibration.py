import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from medfuse.metrics import apply_temperature, fit_temperature
from medfuse.metrics.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE


def labelled(seed: int, n: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true_logits = rng.normal(scale=2, size=n)
    return true_logits * sharpness, (rng.random(n) < expit(true_logits)).astype(float)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])
def test_finds_the_temperature_that_made_the_logits(sharpness: float) -> None:
    logits, labels = labelled(0, 20_000, sharpness)
    assert fit_temperature(logits, labels) == pytest.approx(sharpness, rel=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_unsmoothed_equals_logistic_regression_without_intercept(seed: int) -> None:
    logits, labels = labelled(seed, 60, 2.5)
    slope = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logits[:, None], labels).coef_[0, 0]
    assert fit_temperature(logits, labels, smooth=False) == pytest.approx(1 / slope, rel=1e-4)


def test_unlabelled_cases_are_left_out_whatever_their_logit() -> None:
    logits, labels = labelled(1, 80, 2.0)
    masked = np.concatenate([labels, [np.nan, np.nan]]).reshape(2, 41)
    more = np.concatenate([logits, [1e6, np.nan]]).reshape(2, 41)
    assert fit_temperature(more, masked) == fit_temperature(logits, labels)


@pytest.mark.parametrize("label", [0.0, 1.0, np.nan])
def test_one_class_changes_nothing(label: float) -> None:
    assert fit_temperature([2.0, -1.0, 0.3], [label] * 3) == 1.0
    assert fit_temperature([], []) == 1.0


def test_perfect_separation_does_not_run_away() -> None:
    logits, labels = np.linspace(-3, 3, 10), np.repeat([0.0, 1.0], 5)
    assert fit_temperature(logits, labels, smooth=False) == pytest.approx(MIN_TEMPERATURE, rel=1e-3)
    assert fit_temperature(logits, labels) > 0.3
    assert fit_temperature(-logits, labels) == pytest.approx(MAX_TEMPERATURE, rel=1e-3)


def test_applying_it_keeps_the_ranking_and_one_is_the_sigmoid() -> None:
    logits = np.array([-4.0, -0.5, 0.0, 3.0])
    assert apply_temperature(logits, 1.0) == pytest.approx(expit(logits))
    assert apply_temperature(logits, 4.0) == pytest.approx(expit(logits / 4))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="3 logits and 2 labels"):
        fit_temperature([1.0, 2.0, 3.0], [1, 0])
