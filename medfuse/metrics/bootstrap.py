"""How sure a figure is: bootstrap intervals that draw patients, not studies.

Two studies of one patient are no two witnesses, so that a resample takes or leaves all studies of a patient together.
`scipy.stats.bootstrap` draws and makes the interval; its samples are the patients.
"""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medfuse.seeding import stream

Statistic = Callable[[NDArray[np.intp]], float]
"""A figure of the cases at these indices, which may repeat; NaN where it has no meaning."""

IntervalMethod = Literal["BCa", "percentile"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its interval.

    Args:
        value: On all cases; None where undefined, and `reason` says why.
        low: Lower end of the interval; None where it cannot be had, and `reason` says why.
        high: Upper end.
        n: Number of cases behind it.
        patients: Number of patients behind it.
        method: How the interval was made: BCa, or percentile where BCa is undefined (e.g. all resamples are equal).
        draws: Resamples in which the figure was defined.
        reason: Why a number is missing or rests on fewer resamples; empty otherwise.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    patients: int
    method: IntervalMethod | None = None
    draws: int = 0
    reason: str = ""


def estimate_by_patient(
    statistic: Statistic,
    patient_keys: Sequence[str],
    *,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    undefined: str = "the figure is undefined on these cases",
) -> Estimate:
    """A figure and its bootstrap interval, patients being drawn with replacement.

    The interval is bias-corrected and accelerated (BCa). Resamples without a defined figure (e.g. of one class
    only) are left out and counted. The result does not depend on the order of the cases.

    Args:
        statistic: The figure, from case indices.
        patient_keys: The patient of each case; its length is the number of cases.
        draws: Number of resamples, at least 1.
        seed: Of the resampling.
        confidence: Of the two-sided interval.
        undefined: What to say when the figure is undefined on all cases.

    Source: B. Efron, "Better bootstrap confidence intervals", JASA 82 (1987); `scipy.stats.bootstrap`.
    """
    keys = np.asarray(patient_keys, dtype=str)
    patients = [np.flatnonzero(keys == key) for key in sorted(set(patient_keys))]
    counts: dict[str, Any] = {"n": len(keys), "patients": len(patients)}
    value = statistic(np.arange(len(keys))) if len(keys) else float("nan")
    if not np.isfinite(value):
        return Estimate(value=None, reason=undefined, **counts)
    if len(patients) < 2:
        return Estimate(value=value, reason="an interval needs at least two patients", **counts)

    def of_patients(drawn: NDArray[np.intp], axis: int = -1) -> NDArray[np.float64]:
        def of_one(row: NDArray[np.intp]) -> float:
            return statistic(np.concatenate([patients[i] for i in row]))

        return np.apply_along_axis(of_one, axis, drawn)

    interval = _interval(of_patients, len(patients), draws, confidence, stream(seed, "bootstrap"))
    return Estimate(value=value, **interval, **counts)


def _interval(
    of_patients: Callable[..., NDArray[np.float64]],
    patients: int,
    draws: int,
    confidence: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The fields of an `Estimate` that the resamples give."""
    from scipy.stats import bootstrap

    data = (np.arange(patients),)
    options = {"vectorized": True, "confidence_level": confidence, "rng": rng}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # scipy warns of NaN in the interval, which is looked for below
        drawn = bootstrap(data, of_patients, n_resamples=draws, method="percentile", **options)
        finite = drawn.bootstrap_distribution[np.isfinite(drawn.bootstrap_distribution)]
        if not finite.size:
            return {"reason": f"undefined in all {draws} resamples"}
        kept = dataclasses.replace(drawn, bootstrap_distribution=finite)
        reason = f"undefined in {draws - finite.size} of {draws} resamples" if finite.size < draws else ""
        methods: tuple[IntervalMethod, ...] = ("BCa", "percentile")
        for method in methods:
            ends = bootstrap(
                data, of_patients, n_resamples=0, bootstrap_result=kept, method=method, **options
            ).confidence_interval
            if np.isfinite(ends.low) and np.isfinite(ends.high):
                break
    return {
        "low": float(ends.low),
        "high": float(ends.high),
        "method": method,
        "draws": int(finite.size),
        "reason": reason,
    }
