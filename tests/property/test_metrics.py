"""Metrics on whatever hypothesis makes up."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from medfuse.domain import Affine, VolumeGeometry
from medfuse.metrics import (
    auroc,
    average_precision,
    choose_operating_point,
    dice,
    estimate_by_patient,
    hd95_mm,
    sensitivity,
    specificity,
)

SHAPE = (4, 3, 5)
GRID = VolumeGeometry(shape=SHAPE, affine=Affine(np.diag([0.5, 1.0, 3.0, 1.0])))
cases = st.lists(
    st.tuples(st.booleans(), st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))), max_size=25
)
masks = arrays(bool, SHAPE)


def split(made: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([label for label, _ in made], bool), np.array([score for _, score in made], float)


@settings(deadline=None)
@given(cases)
def test_ranking_metrics_equal_scikit_learn_or_are_undefined(made: list[tuple[bool, float]]) -> None:
    labels, scores = split(made)
    if labels.any() and not labels.all():
        assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
        assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
        assert auroc(labels, scores) + auroc(~labels, scores) == pytest.approx(1)
    else:
        assert math.isnan(auroc(labels, scores))
        assert math.isnan(average_precision(labels, scores))


@settings(deadline=None)
@given(cases)
def test_the_operating_point_is_never_worse_than_a_coin(made: list[tuple[bool, float]]) -> None:
    labels, scores = split(made)
    point = choose_operating_point(labels, scores)
    if point is None:
        assert labels.all() or not labels.any()
        return
    gain = sensitivity(labels, scores, operating_point=point) + specificity(labels, scores, operating_point=point)
    assert gain >= 1 - 1e-12


@settings(deadline=None)
@given(masks, masks)
def test_overlap_and_distance_are_symmetric_and_bounded(a: np.ndarray, b: np.ndarray) -> None:
    assert dice(a, b) == pytest.approx(dice(b, a))
    assert 0 <= dice(a, b) <= 1
    assert hd95_mm(a, b, GRID) == pytest.approx(hd95_mm(b, a, GRID))
    assert 0 <= hd95_mm(a, b, GRID) <= np.linalg.norm([3 * 0.5, 2 * 1.0, 4 * 3.0]) + 1e-9
    assert dice(a, a) == 1
    assert hd95_mm(a, a, GRID) == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(-5, 5)), min_size=1, max_size=20), st.integers(0, 99))
def test_an_estimate_counts_right_and_its_interval_is_in_order(made: list[tuple[str, float]], seed: int) -> None:
    keys, values = [key for key, _ in made], np.array([value for _, value in made])
    found = estimate_by_patient(lambda i: float(np.mean(values[i])), keys, draws=60, seed=seed)
    assert (found.n, found.patients) == (len(made), len(set(keys)))
    assert found.value == pytest.approx(values.mean())
    if found.patients > 1:
        assert values.min() - 1e-9 <= found.low <= found.high <= values.max() + 1e-9
    else:
        assert found.low is found.high is None
