"""How sure a figure is: bootstrap intervals that draw patients, not studies.

Two studies of one patient are no two witnesses, so that a resample takes or leaves all studies of a patient together.
`scipy.stats.bootstrap` draws and makes the interval; its samples are the patients. A figure is asked for in one of two
ways: from the indices of one resample (`estimate_by_patient`), or from the weights of all resamples at once
(`estimate_by_weights`), which takes a hundredth of the time.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medfuse.metrics.weighted import WeightedStatistic, Weights
from medfuse.seeding import stream

Statistic = Callable[[NDArray[np.intp]], float]
"""A figure of the cases at these indices, which may repeat; NaN where it has no meaning."""

IntervalMethod = Literal["BCa", "percentile", "exact"]

CELLS_AT_ONCE = 4_000_000
"""Resamples are made in parts of at most so many weights, which bounds the memory."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its interval.

    Args:
        value: On all cases; None where undefined, and `reason` says why.
        low: Lower end of the interval; None where it cannot be had, and `reason` says why.
        high: Upper end.
        n: Number of cases behind it.
        patients: Number of patients behind it.
        method: How the interval was made: BCa, or percentile where BCa is undefined (e.g. all resamples are equal);
            exact for a share of 0 or 1, of which every resample is equal (see `exact_share`).
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


def estimate_by_weights(
    statistic: WeightedStatistic,
    patient_keys: Sequence[str],
    *,
    value: float | None = None,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    undefined: str = "the figure is undefined on these cases",
) -> Estimate:
    """A figure and its bootstrap interval as `estimate_by_patient` gives them, all resamples at once.

    Args:
        statistic: The figure of each resample, from the weights of the cases.
        patient_keys: The patient of each case; its length is the number of cases.
        value: The figure itself, where a library makes it; None to take it from `statistic`.
        draws: Number of resamples, at least 1.
        seed: Of the resampling; the same resamples as `estimate_by_patient` draws.
        confidence: Of the two-sided interval.
        undefined: What to say when the figure is undefined on all cases.
    """
    names, patient_of = patients_of(patient_keys)
    counts: dict[str, Any] = {"n": len(patient_of), "patients": len(names)}
    if value is None:
        value = float(statistic(np.ones((1, len(patient_of))))[0]) if len(patient_of) else float("nan")
    if not np.isfinite(value):
        return Estimate(value=None, reason=undefined, **counts)
    if len(names) < 2:
        return Estimate(value=value, reason="an interval needs at least two patients", **counts)

    def of_patients(drawn: NDArray[np.intp], axis: int = -1) -> NDArray[np.float64]:
        rows = drawn.reshape(-1, drawn.shape[-1])
        return statistic(_counted(rows, len(names))[:, patient_of]).reshape(drawn.shape[:-1])

    interval = _interval(
        of_patients, len(names), draws, confidence, stream(seed, "bootstrap"), batch=_batch(patient_of.size)
    )
    return Estimate(value=value, **interval, **counts)


def exact_share(share: Estimate, confidence: float = 0.95) -> Estimate:
    """A share of 0 or 1 with an exact binomial interval, its patients being the trials; any other as it is.

    Every resample of studies that are all right is all right: the bootstrap's interval has no width, and would promise
    that the next patient is right too.

    Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934); scipy's `binomtest`.
    """
    from scipy.stats import binomtest

    if share.value not in (0.0, 1.0) or share.patients < 1:
        return share
    right = share.patients if share.value == 1.0 else 0
    ends = binomtest(right, share.patients).proportion_ci(confidence_level=confidence, method="exact")
    return dataclasses.replace(share, low=float(ends.low), high=float(ends.high), method="exact", draws=0, reason="")


def patients_of(patient_keys: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
    """The patients in order, and the position among them of the patient of each case."""
    names, positions = np.unique(np.asarray(patient_keys, dtype=str), return_inverse=True)
    return names.tolist(), np.asarray(positions, dtype=np.intp)


def resamples(patient_keys: Sequence[str], *, draws: int = 2000, seed: int = 0) -> Iterator[Weights]:
    """The weights of the cases in the resamples of the other functions here, in parts of shape `(some, n)`."""
    names, patient_of = patients_of(patient_keys)
    rng = stream(seed, "bootstrap")
    batch = _batch(patient_of.size)
    for first in range(0, draws, batch):
        drawn = rng.integers(0, len(names), (min(batch, draws - first), len(names)))
        yield _counted(drawn, len(names))[:, patient_of]


def _counted(drawn: NDArray[np.intp], patients: int) -> Weights:
    """How often each patient was drawn: from `(R, drawn)` positions to `(R, patients)`."""
    rows = len(drawn)
    cells = drawn + patients * np.arange(rows)[:, None]
    return np.bincount(cells.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float64)


def _batch(cases: int) -> int:
    return max(1, CELLS_AT_ONCE // max(1, cases))


def _interval(
    of_patients: Callable[..., NDArray[np.float64]],
    patients: int,
    draws: int,
    confidence: float,
    rng: np.random.Generator,
    batch: int | None = None,
) -> dict[str, Any]:
    """The fields of an `Estimate` that the resamples give."""
    from scipy.stats import bootstrap

    data = (np.arange(patients),)
    options = {"vectorized": True, "confidence_level": confidence, "rng": rng, "batch": batch}
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
