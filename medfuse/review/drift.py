"""Whether studies and answers are still what they were: each window of time against the first one.

Two figures a quantity: the population stability index over the deciles of the reference, and the two-sample
Kolmogorov-Smirnov test (scipy). Both have to say so before a quantity counts as moved, since the index alone calls
small windows drifted: with n and m studies its expected value without any drift is about 9/n + 9/m.

Source: Yurdakul and Naranjo 2020 (J Risk Model Valid 14:4) on the index and its distribution; the usual limits of 0.1
and 0.25.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from medfuse.errors import UsageError
from medfuse.review.agreement import WINDOWS, window_of
from medfuse.review.pages import Asker, reach
from medfuse.review.schema import MEASURES, WORKLIST

FEWEST = 20
"""Studies that a window needs before anything is said of it."""

_MOVED, _DRIFTED = 0.1, 0.25
_LIKELY, _SURE = 0.05, 0.01
_BINS = 10
_LEAST_SHARE = 1e-4

Drift = Literal["stable", "moved", "drifted", "too few"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRow:
    """One quantity in one window of time.

    Args:
        quantity: What, e.g. `probability nodule`.
        kind: `input` or `output`.
        window: Which week or month of scoring.
        n: Studies in it that have the quantity.
        reference_n: Studies of the first window, which it is compared with.
        mean: Mean in the window.
        reference_mean: Mean in the first one.
        psi: Population stability index; None where there are too few studies.
        ks: Largest distance between the two distributions; None likewise.
        p_value: Of the Kolmogorov-Smirnov test; None likewise.
        verdict: What follows.
    """

    quantity: str
    kind: str
    window: str
    n: int
    reference_n: int
    mean: float
    reference_mean: float
    psi: float | None = None
    ks: float | None = None
    p_value: float | None = None
    verdict: Drift


def drift_of(connection: Connection, asker: Asker, windows: str) -> tuple[DriftRow, ...]:
    """Compare each window with the first one that has enough studies, by quantity and then by time.

    Args:
        connection: To the index of the worklist.
        asker: Who asks; only studies that the person reaches count.
        windows: `week` or `month`.

    Raises:
        UsageError: The windows are neither.
    """
    if windows not in WINDOWS or not windows:
        raise UsageError(f"drift goes by {' or '.join(filter(None, WINDOWS))}, not by {windows!r}")
    query = (
        select(MEASURES.c.quantity, MEASURES.c.kind, MEASURES.c.value, WORKLIST.c.scored_at)
        .join(WORKLIST, WORKLIST.c.study_instance_uid == MEASURES.c.study_instance_uid)
        .where(reach(asker.reader), WORKLIST.c.scored_at != "")
        .order_by(MEASURES.c.kind, MEASURES.c.quantity, WORKLIST.c.scored_at)
    )
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in connection.execute(query):
        name = window_of(row.scored_at, windows)
        values.setdefault((row.kind, row.quantity), {}).setdefault(name, []).append(row.value)
    return tuple(one for (kind, quantity), spans in values.items() for one in _compared(quantity, kind, spans))


def stability_index(reference: Sequence[float], values: Sequence[float]) -> float:
    """The population stability index of `values` against the deciles of `reference`; 0 for equal distributions.

    Empty bins count with a share of 0.0001, so that the index stays finite.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, _BINS + 1)[1:-1]))
    expected, found = (_shares(np.asarray(sample, dtype=float), edges) for sample in (reference, values))
    return float(((found - expected) * np.log(found / expected)).sum())


def _shares(sample: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(edges, sample, side="left"), minlength=len(edges) + 1)
    return np.maximum(counts / len(sample), _LEAST_SHARE)


def _compared(quantity: str, kind: str, spans: dict[str, list[float]]) -> list[DriftRow]:
    first = next((name for name in sorted(spans) if len(spans[name]) >= FEWEST), min(spans))
    reference = spans[first]
    return [_row(quantity, kind, name, spans[name], reference) for name in sorted(spans) if name != first]


def _row(quantity: str, kind: str, window: str, values: list[float], reference: list[float]) -> DriftRow:
    psi = ks = p_value = None
    verdict: Drift = "too few"
    if min(len(values), len(reference)) >= FEWEST:
        from scipy.stats import ks_2samp

        tested = ks_2samp(reference, values)
        psi, ks, p_value = stability_index(reference, values), float(tested.statistic), float(tested.pvalue)
        verdict = _verdict(psi, p_value)
    return DriftRow(
        quantity=quantity,
        kind=kind,
        window=window,
        n=len(values),
        reference_n=len(reference),
        mean=float(np.mean(values)),
        reference_mean=float(np.mean(reference)),
        psi=psi,
        ks=ks,
        p_value=p_value,
        verdict=verdict,
    )


def _verdict(psi: float, p_value: float) -> Drift:
    if psi >= _DRIFTED and p_value < _SURE:
        return "drifted"
    return "moved" if psi >= _MOVED and p_value < _LIKELY else "stable"
