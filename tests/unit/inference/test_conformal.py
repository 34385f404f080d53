"""Prediction sets: the rank of the threshold, tiny calibration sets, coverage in the long run."""

import numpy as np
import pytest

from medfuse.domain import LabelValue
from medfuse.inference.conformal import fit_thresholds, prediction_set, union
from medfuse.model.checkpoint import ConformalThresholds

PRESENT, ABSENT = LabelValue.PRESENT, LabelValue.ABSENT


def test_the_threshold_is_the_score_of_the_finite_sample_rank() -> None:
    scores = np.arange(1, 10) / 10  # of nine studies; the rank is ceil(10 * 0.9) = 9
    fitted = fit_thresholds(1 - scores, np.ones(9, dtype=bool), alpha=0.1)
    assert fitted.present == pytest.approx(0.9)
    looser = fit_thresholds(1 - scores, np.ones(9, dtype=bool), alpha=0.5)
    assert looser.present == pytest.approx(0.5)


def test_a_state_that_too_few_studies_show_is_never_ruled_out() -> None:
    said = np.concatenate([np.full(8, 0.9), np.full(20, 0.1)])
    fitted = fit_thresholds(said, said > 0.5, alpha=0.1)
    assert (fitted.present, fitted.present_cases, fitted.absent_cases) == (None, 8, 20)
    assert prediction_set(0.0, fitted) == (PRESENT, ABSENT)
    assert prediction_set(1.0, fitted) == (PRESENT,)


def test_nothing_to_fit_on_rules_nothing_out() -> None:
    fitted = fit_thresholds([], [])
    assert prediction_set(0.5, fitted) == (PRESENT, ABSENT)


def test_a_set_may_be_empty() -> None:
    assert prediction_set(0.5, ConformalThresholds(alpha=0.1, present=0.2, absent=0.2)) == ()


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_a_rate_outside_zero_to_one_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit_thresholds([0.5], [True], alpha=alpha)


def test_the_sets_cover_each_state_at_the_stated_rate() -> None:
    random = np.random.default_rng(0)
    covered: dict[bool, list[bool]] = {True: [], False: []}
    for _ in range(300):
        truth = random.random(120) < 0.3
        logits = random.normal(np.where(truth, 1.0, -1.0), 1.5)  # badly calibrated on purpose
        said = 1 / (1 + np.exp(-3 * logits))
        fitted = fit_thresholds(said[:100], truth[:100], alpha=0.1)
        for p, t in zip(said[100:], truth[100:], strict=True):
            covered[bool(t)].append((PRESENT if t else ABSENT) in prediction_set(p, fitted))
    for found in covered.values():
        assert 0.885 < np.mean(found) < 0.94


def test_an_ensemble_rules_out_what_every_member_rules_out() -> None:
    assert union([(PRESENT,), (PRESENT, ABSENT)]) == (PRESENT, ABSENT)
    assert union([(PRESENT,), ()]) == (PRESENT,)
    assert union([(PRESENT,), None]) is None
    assert union([]) is None
