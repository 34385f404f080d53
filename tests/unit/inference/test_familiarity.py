"""The distance to the training set, its threshold, and what is kept of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.covariance import LedoitWolf

from medfuse.domain import Familiarity
from medfuse.inference.familiarity import TrainingSet, features_of, merged, threshold_of
from medfuse.preprocess import ChannelRule, Recipe
from tests.parts import SIZE, make_case, make_network

RECIPE = Recipe(channels=(ChannelRule(name="a"), ChannelRule(name="b")), spacing_mm=(1, 1, 1), size=SIZE)


def correlated(n: int, d: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).normal(size=(d, d))
    return random.normal(size=(n, d)) @ mixing + 5.0


@pytest.mark.parametrize(("n", "d"), [(40, 6), (12, 30)])
def test_the_distance_is_mahalanobis_by_the_shrunk_covariance_of_scikit_learn(n: int, d: int) -> None:
    features, other = correlated(n, d), correlated(5, d, seed=1)
    fitted = TrainingSet.fit(features)
    mean, scale = features.mean(0), features.std(0)
    judge = LedoitWolf(assume_centered=True).fit((features - mean) / scale)
    for one in other:
        expected = np.sqrt(judge.mahalanobis(((one - mean) / scale)[None])[0] / d)
        assert fitted.distance(one) == pytest.approx(expected, rel=1e-4)


def test_a_stranger_is_farther_than_a_study_of_the_same_kind() -> None:
    fitted = TrainingSet.fit(correlated(100, 20))
    held_out = [fitted.distance(one) for one in correlated(30, 20, seed=2)]
    assert fitted.distance(correlated(1, 20, seed=3)[0] + 30) > 3 * max(held_out)
    assert 0.5 < np.median(held_out) < 1.5


def test_a_feature_that_never_changes_does_no_harm() -> None:
    features = correlated(30, 4)
    features[:, 2] = 1.0
    assert np.isfinite(TrainingSet.fit(features).distance(features[0]))


def test_it_comes_back_from_its_tensors() -> None:
    features = correlated(30, 5)
    fitted = TrainingSet.fit(features)
    again = TrainingSet.from_tensors(fitted.tensors())
    assert again.distance(features[3]) == fitted.distance(features[3])
    with pytest.raises(KeyError):
        TrainingSet.from_tensors({"mean": torch.zeros(2)})


def test_many_held_out_studies_give_their_quantile() -> None:
    assert threshold_of(np.arange(1.0, 200.0), false_alarms=0.1) == 180.0


def test_few_held_out_studies_give_a_prediction_interval_that_holds_its_rate() -> None:
    random = np.random.default_rng(0)
    alarms = [
        np.exp(random.normal(0, 0.3)) > threshold_of(np.exp(random.normal(0, 0.3, 12)), false_alarms=0.05)
        for _ in range(4000)
    ]
    assert 0.02 < np.mean(alarms) < 0.06
    assert threshold_of([1.0, 1.1, 1.2]) > 1.2
    many = np.exp(random.normal(0, 0.3, 98))
    assert np.log(threshold_of(many)) == pytest.approx(0.3 * norm.ppf(0.99), abs=0.2)


def test_the_features_of_a_study_do_not_depend_on_chance(tiny_bert: Path) -> None:
    network = make_network(tiny_bert).eval()
    case = make_case(shape=(40, 18, 12))
    one = features_of(network, case, RECIPE, torch.device("cpu"))
    other = features_of(network, case, RECIPE, torch.device("cpu"))
    assert one is not None
    assert one.shape == (2 * (4 + 8 + 16),)
    assert np.array_equal(one, other)


def test_a_study_without_an_image_has_no_features(tiny_bert: Path) -> None:
    from dataclasses import replace

    case = replace(make_case(), channel_present=np.zeros(2, dtype=bool))
    assert features_of(make_network(tiny_bert).eval(), case, RECIPE, torch.device("cpu")) is None


def test_an_ensemble_answers_relative_to_the_members_thresholds() -> None:
    one, other = Familiarity(distance=3.0, threshold=2.0), Familiarity(distance=1.0, threshold=2.0)
    assert merged([one]) == one
    assert merged([one, other]) == Familiarity(distance=1.0, threshold=1.0)
    assert merged([one, None]) is None
    assert merged([]) is None
