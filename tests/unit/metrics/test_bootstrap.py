import numpy as np
import pytest
from scipy.stats import bootstrap

from medfuse.metrics import Estimate, auroc, estimate_by_patient, estimate_by_weights
from medfuse.metrics import bootstrap as bootstrap_module
from medfuse.metrics.bootstrap import exact_share, resamples
from medfuse.metrics.weighted import weighted_auroc, weighted_mean
from medfuse.seeding import stream


def mean_of(values: np.ndarray):
    return lambda index: float(np.mean(values[index]))


def test_one_study_a_patient_is_scipys_bca() -> None:
    values = np.random.default_rng(3).exponential(size=30)
    found = estimate_by_patient(mean_of(values), [f"{i:02d}" for i in range(30)], draws=500, seed=7)
    expected = bootstrap((values,), np.mean, n_resamples=500, method="BCa", rng=stream(7, "bootstrap"))
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval), abs=1e-12)
    assert (found.n, found.patients, found.method, found.draws, found.reason) == (30, 30, "BCa", 500, "")


def test_studies_of_one_patient_move_together() -> None:
    keys = ["a", "b", "a", "c", "b", "d", "a"]
    values = np.arange(7.0)
    seen: list[list[int]] = []

    def statistic(index: np.ndarray) -> float:
        seen.append(sorted(index))
        return float(np.mean(values[index]))

    found = estimate_by_patient(statistic, keys, draws=200)
    assert (found.n, found.patients) == (7, 4)
    sizes = {key: keys.count(key) for key in keys}
    for drawn in seen:
        times = {key: {drawn.count(i) for i in range(7) if keys[i] == key} for key in sizes}
        assert all(len(counts) == 1 for counts in times.values()), "a patient was torn apart"
    resampled = [drawn for drawn in seen if len(set(drawn)) < len(drawn)]
    assert {len(drawn) for drawn in resampled} - {7}, "whole patients give resamples of other sizes"


def test_copies_of_a_study_add_no_certainty() -> None:
    values = np.random.default_rng(0).normal(size=20)
    keys = [str(i) for i in range(20)]
    once = estimate_by_patient(mean_of(values), keys, draws=400)
    copied = estimate_by_patient(mean_of(np.repeat(values, 5)), np.repeat(keys, 5).tolist(), draws=400)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert copied.n == 100
    assert copied.patients == 20


def test_order_of_the_cases_does_not_matter_and_the_seed_does() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.random(40) < 0.5, rng.random(40)
    keys = [str(i // 2) for i in range(40)]
    turned = rng.permutation(40)

    def of(order: np.ndarray, seed: int):
        return estimate_by_patient(
            lambda i: auroc(labels[order][i], scores[order][i]), [keys[j] for j in order], draws=100, seed=seed
        )

    straight = of(np.arange(40), 0)
    assert straight == of(turned, 0)
    assert straight != of(turned, 1)


def test_an_undefined_figure_is_null_with_a_reason() -> None:
    found = estimate_by_patient(lambda _: float("nan"), ["a", "b"], undefined="one class only")
    assert (found.value, found.low, found.high, found.reason) == (None, None, None, "one class only")
    assert (found.n, found.patients) == (2, 2)
    nothing = estimate_by_patient(lambda _: 1.0, [], undefined="no case")
    assert (nothing.value, nothing.n, nothing.patients, nothing.reason) == (None, 0, 0, "no case")


def test_one_patient_has_a_value_and_no_interval() -> None:
    found = estimate_by_patient(mean_of(np.array([1.0, 3.0])), ["a", "a"])
    assert (found.value, found.low, found.high, found.n, found.patients) == (2.0, None, None, 2, 1)
    assert "two patients" in found.reason


def test_resamples_of_one_class_are_left_out_and_counted() -> None:
    labels = np.array([1, 0, 0, 0, 0, 0])
    scores = np.array([0.6, 0.7, 0.1, 0.2, 0.3, 0.4])
    found = estimate_by_patient(lambda i: auroc(labels[i], scores[i]), list("abcdef"), draws=300)
    assert 0 < found.draws < 300
    assert found.reason == f"undefined in {300 - found.draws} of 300 resamples"
    assert found.method == "percentile"  # leaving the one positive out has no AUROC, so that BCa is undefined
    assert found.low is not None
    assert found.low <= found.value <= found.high


def test_equal_resamples_give_an_interval_of_no_width() -> None:
    found = estimate_by_patient(lambda _: 1.0, list("abcd"), draws=50)
    assert (found.low, found.high, found.method) == (1.0, 1.0, "percentile")


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_coverage_is_near_the_confidence(confidence: float) -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(200):
        of_patient = rng.normal(size=25)  # two studies a patient that share most of their value
        values = np.repeat(of_patient, 2) + 0.1 * rng.normal(size=50)
        keys = [str(i // 2) for i in range(50)]
        found = estimate_by_patient(mean_of(values), keys, draws=200, confidence=confidence)
        covered += found.low <= 0 <= found.high
    assert covered / 200 == pytest.approx(confidence, abs=0.06)


def test_all_resamples_at_once_are_those_drawn_one_by_one() -> None:
    rng = np.random.default_rng(4)
    labels, scores = rng.random(50) < 0.4, np.round(rng.random(50), 1)
    keys = [f"p{n % 17}" for n in range(50)]
    one_by_one = estimate_by_patient(lambda i: auroc(labels[i], scores[i]), keys, draws=200, seed=5)
    at_once = estimate_by_weights(weighted_auroc(labels, scores), keys, draws=200, seed=5)
    assert (at_once.low, at_once.high) == pytest.approx((one_by_one.low, one_by_one.high), abs=1e-12)
    assert at_once.value == pytest.approx(one_by_one.value)
    assert (at_once.n, at_once.patients, at_once.method) == (50, 17, "BCa")


def test_parts_of_the_resamples_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=40)
    keys = [str(n % 13) for n in range(40)]
    whole = estimate_by_weights(weighted_mean(values), keys, draws=101)
    weights = np.concatenate(list(resamples(keys, draws=101)))
    monkeypatch.setattr(bootstrap_module, "CELLS_AT_ONCE", 160)
    assert estimate_by_weights(weighted_mean(values), keys, draws=101) == whole
    assert (np.concatenate(list(resamples(keys, draws=101))) == weights).all()
    assert weights.shape == (101, 40)


def test_at_once_too_an_undefined_figure_is_null_with_a_reason() -> None:
    found = estimate_by_weights(weighted_auroc([True, True], [0.1, 0.2]), ["a", "b"], undefined="one class only")
    assert (found.value, found.reason, found.n) == (None, "one class only", 2)
    nothing = estimate_by_weights(weighted_mean([]), [], undefined="no case")
    assert (nothing.value, nothing.n, nothing.patients) == (None, 0, 0)
    alone = estimate_by_weights(weighted_mean([1.0, 3.0]), ["a", "a"])
    assert (alone.value, alone.low, alone.patients) == (2.0, None, 1)
    given = estimate_by_weights(weighted_mean([1.0, 3.0]), ["a", "b"], value=2.0, draws=20)
    assert given.value == 2.0


def test_a_share_of_all_or_none_has_an_exact_interval() -> None:
    def share(values: list[float]) -> Estimate:
        return exact_share(estimate_by_weights(weighted_mean(values), [str(n) for n in range(len(values))], draws=50))

    all_right, none_right = share([1.0] * 20), share([0.0] * 20)
    assert (all_right.low, all_right.high) == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert (none_right.low, none_right.high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    assert all_right.method == "exact"
    assert share([1.0]).low == pytest.approx(0.025)
    assert share([1.0, 0.0, 1.0, 1.0]).method != "exact"
    assert exact_share(Estimate(value=None, n=0, patients=0, reason="none")).low is None
