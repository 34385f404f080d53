"""How the intervals of an evaluation are made: number of resamples, seed, confidence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.evaluation.cases import Case
from medfuse.metrics import Estimate, estimate_by_patient, estimate_by_weights
from medfuse.metrics.weighted import WeightedStatistic, weighted_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How intervals are made: number of resamples, seed, confidence."""

    draws: int = 2000
    seed: int = 0
    confidence: float = 0.95

    def estimate(self, statistic: Callable[[NDArray[np.intp]], float], keys: Sequence[str], undefined: str) -> Estimate:
        """A figure with its interval by patient; see `estimate_by_patient`."""
        return estimate_by_patient(
            statistic, keys, draws=self.draws, seed=self.seed, confidence=self.confidence, undefined=undefined
        )

    def weigh(
        self, statistic: WeightedStatistic, cases: Sequence[Case], undefined: str, value: float | None = None
    ) -> Estimate:
        """A figure with its interval by patient, all resamples at once; see `estimate_by_weights`."""
        return estimate_by_weights(
            statistic,
            [case.patient_key for case in cases],
            value=value,
            draws=self.draws,
            seed=self.seed,
            confidence=self.confidence,
            undefined=undefined,
        )

    def mean(self, pairs: Sequence[tuple[Case, float | None]], undefined: str) -> Estimate:
        """The mean over the cases that have a value."""
        known = [(case, value) for case, value in pairs if value is not None]
        values = np.array([value for _, value in known], dtype=np.float64)
        return self.weigh(weighted_mean(values), [case for case, _ in known], undefined)


def undefined(cases: Sequence[Case], reason: str) -> Estimate:
    """A figure that cannot be had of these cases."""
    return Estimate(value=None, n=len(cases), patients=len({case.patient_key for case in cases}), reason=reason)
