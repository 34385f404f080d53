import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from medfuse.metrics import (
    apply_platt,
    apply_temperature,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    reliability,
)
from medfuse.metrics.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, calibration_error_by_chance


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


def test_platts_line_finds_the_slope_and_the_shift_that_made_the_logits() -> None:
    logits, labels = labelled(0, 20_000, 2.0)
    slope, intercept = fit_platt(logits + 3.0, labels)
    assert slope == pytest.approx(0.5, rel=0.05)
    assert intercept == pytest.approx(-1.5, rel=0.06)
    assert apply_platt(logits, 1.0, 0.0) == pytest.approx(expit(logits))
    assert apply_platt(logits, slope, intercept) == pytest.approx(expit(slope * logits + intercept))


def test_platts_line_never_turns_the_ranking() -> None:
    logits, labels = np.linspace(-3, 3, 20), np.repeat([1.0, 0.0], 10)
    slope, intercept = fit_platt(logits, labels)
    assert slope == pytest.approx(1 / MAX_TEMPERATURE)
    assert apply_platt(logits, slope, intercept).mean() == pytest.approx(0.5)


@pytest.mark.parametrize("label", [0.0, 1.0, np.nan])
def test_platt_of_one_class_changes_nothing(label: float) -> None:
    assert fit_platt([2.0, -1.0, 0.3], [label] * 3) == (1.0, 0.0)
    assert fit_platt([], []) == (1.0, 0.0)


def test_platt_of_parted_classes_does_not_run_away() -> None:
    slope, _ = fit_platt(np.linspace(-3, 3, 10), np.repeat([0.0, 1.0], 5))
    assert 0.3 < slope < 1 / MIN_TEMPERATURE


def test_bins_hold_their_lower_end_and_the_last_one_both() -> None:
    bins = reliability([True, False, True, True], [0.0, 0.1, 0.999, 1.0])
    assert [(each.n, each.low) for each in bins if each.n] == [(1, 0.0), (1, 0.1), (2, 0.9)]
    assert sum(each.n for each in bins) == 4
    empty = bins[5]
    assert (empty.n, empty.predicted, empty.observed, empty.observed_low) == (0, None, None, None)
    assert bins[9].observed == 1.0
    assert bins[9].observed_low < 1.0 <= bins[9].observed_high + 1e-9


def test_the_error_by_chance_is_that_of_calibrated_labels() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(200)
    mean, high = calibration_error_by_chance(said)
    errors = [expected_calibration_error(rng.random(200) < said, said) for _ in range(200)]
    assert np.mean(errors) == pytest.approx(mean, abs=0.005)
    assert np.mean(np.array(errors) < high) == pytest.approx(0.95, abs=0.05)
    assert np.isnan(calibration_error_by_chance([])).all()
    assert calibration_error_by_chance(np.tile(said, 25))[0] < mean / 3
