"""How much each input adds to an answer: Shapley's value, exact, over every subset of the inputs.

A study's inputs are few (its channels, and the text), so that all subsets can be asked for. What is left out counts as
missing, which the model was trained to bear. The values of all inputs add up to what the answer is with all of them
less what it is with none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np
from numpy.typing import NDArray

MOST_INPUTS = 6
"""Of more inputs, the channels of the image count as one."""

Values = NDArray[np.float64]
Subset = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contributions:
    """What each input adds.

    Args:
        of_inputs: Input -> its value for each finding, shape `(F,)`, in log-odds.
        without_any: The answer with no input at all, shape `(F,)`.
        with_all: The answer with all of them, shape `(F,)`.
    """

    of_inputs: Mapping[str, Values]
    without_any: Values
    with_all: Values


def contributions(inputs: Sequence[str], answers: Callable[[Sequence[Subset]], Values]) -> Contributions:
    """Shapley's values of some inputs.

    Args:
        inputs: Their names.
        answers: Gives what the model says with each of several subsets alone, shape `(n, F)`.

    Source: L. S. Shapley, "A value for n-person games", 1953; S. Lundberg and S.-I. Lee, NeurIPS 2017, for its use.
    """
    subsets = [frozenset(chosen) for size in range(len(inputs) + 1) for chosen in combinations(inputs, size)]
    value = dict(zip(subsets, answers(subsets), strict=True))
    n = len(inputs)
    added = {}
    for name in inputs:
        without = [subset for subset in subsets if name not in subset]
        weights = [factorial(len(subset)) * factorial(n - len(subset) - 1) / factorial(n) for subset in without]
        gains = [value[subset | {name}] - value[subset] for subset in without]
        added[name] = np.sum([weight * gain for weight, gain in zip(weights, gains, strict=True)], axis=0)
    return Contributions(of_inputs=added, without_any=value[frozenset()], with_all=value[frozenset(inputs)])
