"""Split-conformal prediction: what cannot be ruled out of a finding, at a stated rate of error.

PRESENT and ABSENT have a threshold each (class-conditional, or Mondrian), so that the error rate holds among the
studies with the finding and among those without. The promise is of the long run, over studies like those that the
thresholds were fitted on; a state that too few of them show is never ruled out.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medfuse.domain.labels import LabelValue
from medfuse.model.checkpoint import ConformalThresholds

ALPHA = 0.1
"""The rate of error when none is asked for."""

Sets = tuple[LabelValue, ...]


def fit_thresholds(probabilities: ArrayLike, present: ArrayLike, *, alpha: float = ALPHA) -> ConformalThresholds:
    """Thresholds from studies that took no part in training, each of another patient or nearly so.

    A state's threshold is the `ceil((n + 1) (1 - alpha))`-th smallest of the scores `1 - p(state)` of the n studies
    that show it; with fewer studies than that rank there is none, and the state is in every set.

    Args:
        probabilities: Of PRESENT, shape `(n,)`.
        present: Whether it is, shape `(n,)`.
        alpha: Rate of error, above 0 and below 1.

    Raises:
        ValueError: `alpha` is no such rate, or the shapes differ.

    Source: V. Vovk, A. Gammerman, G. Shafer, "Algorithmic learning in a random world", 2005, section 4.5 (Mondrian);
    J. Lei et al., "Distribution-free predictive inference for regression", JASA 113 (2018) for the rank.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"a rate of error lies between 0 and 1, not {alpha}")
    said, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(present, dtype=bool)
    if said.shape != truth.shape or said.ndim != 1:
        raise ValueError(f"{said.shape} probabilities and {truth.shape} labels")
    return ConformalThresholds(
        alpha=alpha,
        present=_threshold(1 - said[truth], alpha),
        absent=_threshold(said[~truth], alpha),
        present_cases=int(truth.sum()),
        absent_cases=int((~truth).sum()),
    )


def prediction_set(probability: float, thresholds: ConformalThresholds) -> Sets:
    """The states that cannot be ruled out: one, both, or none (unlike anything that was calibrated on)."""
    kept = []
    if thresholds.present is None or 1 - probability <= thresholds.present:
        kept.append(LabelValue.PRESENT)
    if thresholds.absent is None or probability <= thresholds.absent:
        kept.append(LabelValue.ABSENT)
    return tuple(kept)


def union(sets: Sequence[Sets | None]) -> Sets | None:
    """What any member of an ensemble cannot rule out; None when one has no set.

    It covers the truth at least as often as any one member's set does, so the rate of error holds.
    """
    given = [one for one in sets if one is not None]
    if not given or len(given) < len(sets):
        return None
    return tuple(state for state in (LabelValue.PRESENT, LabelValue.ABSENT) if any(state in one for one in given))


def _threshold(scores: NDArray[np.float64], alpha: float) -> float | None:
    # 1e-9: (1 + 9) * 0.9 must be 9, which binary fractions miss by a little.
    rank = ceil((scores.size + 1) * (1 - alpha) - 1e-9)
    return None if rank > scores.size else float(np.sort(scores)[rank - 1])
