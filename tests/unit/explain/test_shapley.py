"""Shapley's axioms, and the worked example of a game."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.explain.shapley import Subset, Values, contributions


def test_the_glove_game() -> None:
    # One left glove (a), two right ones (b, c): a pair is worth 1. Known values: 2/3, 1/6, 1/6.
    def answers(subsets: Sequence[Subset]) -> Values:
        return np.array([[float("a" in subset and len(subset) > 1)] for subset in subsets])

    found = contributions(("a", "b", "c"), answers)
    assert [float(found.of_inputs[name][0]) for name in "abc"] == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    assert (found.without_any, found.with_all) == (0, 1)


@given(st.lists(st.floats(-9, 9), min_size=16, max_size=16))
def test_values_add_up_and_an_idle_input_adds_nothing(numbers: list[float]) -> None:
    names = ("a", "b", "c", "idle")

    def answers(subsets: Sequence[Subset]) -> Values:
        return np.array([[numbers[sum(2**n for n, name in enumerate("abc") if name in s)]] for s in subsets])

    found = contributions(names, answers)
    total = sum(float(value[0]) for value in found.of_inputs.values())
    assert total == pytest.approx(float(found.with_all[0] - found.without_any[0]), abs=1e-9)
    assert found.of_inputs["idle"][0] == pytest.approx(0, abs=1e-12)


def test_no_input_leaves_the_answer_as_it_is() -> None:
    found = contributions((), lambda subsets: np.full((len(subsets), 1), 0.7))
    assert found.of_inputs == {}
    assert found.with_all == found.without_any == 0.7
