"""DeLong's test: the AUROC of two models on the same cases, with the covariance that pairing and patients bring.

Cases of one patient are no independent witnesses, so that the components are summed by patient (Obuchowski 1997); with
one case a patient that is DeLong's own variance. scipy, scikit-learn and statsmodels have neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class DeLong:
    """Two AUROCs on the same cases.

    Args:
        first: AUROC of the first model.
        second: AUROC of the second.
        standard_error: Of their difference.
        low: Lower end of the 95 % interval of `first - second`.
        high: Upper end.
        z: The test statistic; 0 where the two do not differ at all.
        p: Two-sided p value.
    """

    first: float
    second: float
    standard_error: float
    low: float
    high: float
    z: float
    p: float


def delong_test(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, patient_keys: Sequence[str] | None = None
) -> DeLong | None:
    """Test whether two models have the same AUROC.

    Args:
        labels: Shape `(n,)`, True is PRESENT.
        first: Scores of the first model, shape `(n,)`.
        second: Scores of the second.
        patient_keys: The patient of each case; None when every case is a patient.

    Returns:
        None unless there are two patients with PRESENT cases and two with ABSENT ones.

    Source: E. R. DeLong et al., Biometrics 44 (1988); X. Sun and W. Xu, IEEE Signal Processing Letters 21 (2014), for
    the ranks; N. A. Obuchowski, Biometrics 53 (1997), for patients.
    """
    from scipy.stats import norm

    found = auroc_covariance(labels, [first, second], patient_keys)
    if found is None:
        return None
    (one, other), covariance = found
    error = sqrt(max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    difference = float(one - other)
    if error < 1e-12:
        z, p = (0.0, 1.0) if abs(difference) < 1e-12 else (float(np.copysign(np.inf, difference)), 0.0)
    else:
        z = difference / error
        p = float(2 * norm.sf(abs(z)))
    reach = float(norm.ppf(0.975)) * error
    return DeLong(
        first=float(one),
        second=float(other),
        standard_error=error,
        low=difference - reach,
        high=difference + reach,
        z=z,
        p=p,
    )


def auroc_covariance(
    labels: ArrayLike, scores: Sequence[ArrayLike], patient_keys: Sequence[str] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """AUROCs of several models on the same cases, shape `(m,)`, and their covariance, `(m, m)`.

    Args:
        labels: Shape `(n,)`, True is PRESENT.
        scores: One list of n a model.
        patient_keys: The patient of each case; None when every case is a patient.

    Returns:
        None unless there are two patients with PRESENT cases and two with ABSENT ones.
    """
    truth = np.asarray(labels, dtype=bool)
    given = np.stack([np.asarray(one, dtype=np.float64) for one in scores])
    if truth.ndim != 1 or given.shape[1:] != truth.shape:
        raise ValueError(f"labels {truth.shape} and scores {given.shape[1:]} must be lists of one length")
    keys = np.arange(truth.size).astype(str) if patient_keys is None else np.asarray(patient_keys, dtype=str)
    _, patient = np.unique(keys, return_inverse=True)
    with_present, with_absent = (np.unique(patient[mask]).size for mask in (truth, ~truth))
    if min(with_present, with_absent) < 2:
        return None
    areas, placements = _placements(truth, given)
    rest = placements - areas[:, None]
    sums = [_by_patient(rest[:, mask], patient[mask], patient.max() + 1) for mask in (truth, ~truth)]
    counts = (int(truth.sum()), int((~truth).sum()))
    of_present = sums[0] @ sums[0].T * with_present / (with_present - 1) / counts[0] ** 2
    of_absent = sums[1] @ sums[1].T * with_absent / (with_absent - 1) / counts[1] ** 2
    patients = int(patient.max()) + 1
    across = sums[0] @ sums[1].T * patients / (patients - 1) / (counts[0] * counts[1])
    return areas, of_present + of_absent + across + across.T


def _placements(
    truth: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROCs `(m,)`, and of each case the share of the other class that it is on the right side of, `(m, n)`."""
    from scipy.stats import rankdata

    among_all = rankdata(scores, axis=1)
    placed = np.empty_like(scores)
    own = {value: rankdata(scores[:, truth == value], axis=1) for value in (True, False)}
    placed[:, truth] = (among_all[:, truth] - own[True]) / (~truth).sum()
    placed[:, ~truth] = 1 - (among_all[:, ~truth] - own[False]) / truth.sum()
    return placed[:, truth].mean(axis=1), placed


def _by_patient(values: NDArray[np.float64], patient: NDArray[np.intp], patients: int) -> NDArray[np.float64]:
    return np.stack([np.bincount(patient, weights=row, minlength=patients) for row in values])
