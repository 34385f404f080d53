"""How far raters agree beyond chance: Cohen's kappa for two of them, Fleiss' for all readers, with intervals.

statsmodels gives the figures, `medfuse.metrics.bootstrap` the intervals, which draw patients. The model is one of the
raters: its word is PRESENT from its operating point on. Where a reader had seen the model before deciding, the two are
not independent, and agreement looks better than it is; `blind_share` says how often that was not so.

Source: Cohen 1960 (Educ Psychol Meas 20:37), Fleiss 1971 (Psychol Bull 76:378).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import LabelValue
from medfuse.errors import UsageError
from medfuse.metrics.bootstrap import Estimate, estimate_by_weights
from medfuse.review.ratings import MODEL, Rating

WINDOWS = ("", "week", "month")
"""Over time: not, by ISO week, by month."""

_CATEGORIES = (LabelValue.PRESENT, LabelValue.ABSENT, LabelValue.UNCERTAIN)
_PLACE = {value: n for n, value in enumerate(_CATEGORIES)}
_UNDEFINED = "everybody said the same of every study, so there is no agreement by chance to compare with"
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAgreement:
    """Two raters on one finding.

    Args:
        first: A rater; `model` is the model.
        second: The other one.
        finding: Which finding.
        window: Which week or month; empty for the whole span.
        n: Studies that both rated.
        observed: Share of them on which they agree.
        kappa: Cohen's kappa; None where undefined, and `reason` says why.
        low: Lower end of the 95 % interval; None where it cannot be had.
        high: Upper end.
        blind_share: Between a reader and the model, the share of studies that the reader decided blind; else None.
        reason: Why a number is missing.
    """

    first: str
    second: str
    finding: str
    window: str = ""
    n: int
    observed: float
    kappa: float | None
    low: float | None
    high: float | None
    blind_share: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAgreement:
    """All readers on one finding, without the model.

    Args:
        finding: Which finding.
        window: Which week or month; empty for the whole span.
        readers: Who.
        n: Studies that all of them rated.
        kappa: Fleiss' kappa; None where undefined.
        low: Lower end of the 95 % interval.
        high: Upper end.
        reason: Why a number is missing.
    """

    finding: str
    window: str = ""
    readers: tuple[str, ...]
    n: int
    kappa: float | None
    low: float | None
    high: float | None
    reason: str = ""

    @property
    def n_readers(self) -> int:
        """How many readers."""
        return len(self.readers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A study on which raters differ about a finding: who said what, the model among them."""

    handle: str
    title: str
    finding: str
    values: Mapping[str, LabelValue]
    decided_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How readers agree with the model and with each other: figures, and the studies behind them.

    Args:
        pairs: Every two raters of every finding.
        groups: All readers of every finding that two or more of them rated.
        disagreements: Newest first.
    """

    pairs: tuple[PairAgreement, ...]
    groups: tuple[GroupAgreement, ...]
    disagreements: tuple[Disagreement, ...]


def agreement_of(
    ratings: Sequence[Rating],
    *,
    since: str | None = None,
    until: str | None = None,
    window: str = "",
    draws: int = 1000,
) -> Agreement:
    """Count the agreement of ratings.

    Args:
        ratings: One a study and finding.
        since: First day of the last decision on a study, ISO 8601.
        until: Last day of it.
        window: One of `WINDOWS`.
        draws: Bootstrap resamples behind each interval.

    Raises:
        UsageError: The window is none of `WINDOWS`, or a day is no date.
    """
    if window not in WINDOWS:
        raise UsageError(f"agreement goes by {' or '.join(filter(None, WINDOWS))}, not by {window!r}")
    first, last = _day(since), _day(until)
    kept = [one for one in ratings if _within(one.decided_at, first, last)]
    spans: dict[str, list[Rating]] = {"": kept}
    for one in kept if window else ():
        spans.setdefault(window_of(one.decided_at, window), []).append(one)
    pairs, groups = [], []
    for name, within in sorted(spans.items()):
        for finding in dict.fromkeys(one.finding for one in within):
            of_finding = [one for one in within if one.finding == finding]
            pairs += _pairs(finding, name, of_finding, draws)
            groups += _groups(finding, name, of_finding, draws)
    return Agreement(pairs=tuple(pairs), groups=tuple(groups), disagreements=_disagreements(kept))


def window_of(moment: str, window: str) -> str:
    """The week (`2026-W05`) or month (`2026-02`) of a time, by UTC; empty for a text that is no time."""
    try:
        day = datetime.fromisoformat(moment).date()
    except ValueError:
        return ""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}" if window == "week" else f"{day:%Y-%m}"


def cohen(first: Sequence[LabelValue], second: Sequence[LabelValue], patients: Sequence[str], draws: int) -> Estimate:
    """Cohen's kappa of two raters with its bootstrap interval.

    Args:
        first: What one says of each study.
        second: What the other one says.
        patients: The patient of each study.
        draws: Number of resamples.
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    cells = np.array([_PLACE[a] * len(_CATEGORIES) + _PLACE[b] for a, b in zip(first, second, strict=True)], dtype=int)
    one_hot = np.eye(len(_CATEGORIES) ** 2)[cells]
    table = one_hot.sum(axis=0).reshape(len(_CATEGORIES), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(cohens_kappa(table, return_results=False))
    return _estimate(value, lambda weights: _cohen_of(weights @ one_hot), patients, draws)


def fleiss(votes: NDArray[np.float64], patients: Sequence[str], draws: int) -> Estimate:
    """Fleiss' kappa with its bootstrap interval.

    Args:
        votes: Shape `(studies, 3)`: how many readers said PRESENT, ABSENT, UNCERTAIN; every row has the same sum.
        patients: The patient of each study.
        draws: Number of resamples.
    """
    from statsmodels.stats.inter_rater import fleiss_kappa

    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(fleiss_kappa(votes, method="fleiss"))
    n = votes[0].sum()
    agreed = ((votes**2).sum(axis=1) - n) / (n * (n - 1))

    def of_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        total = weights.sum(axis=1)
        by_chance = (((weights @ votes) / (n * total)[:, None]) ** 2).sum(axis=1)
        return _beyond_chance(weights @ agreed / total, by_chance)

    return _estimate(value, of_weights, patients, draws)


def _estimate(value: float, statistic: Any, patients: Sequence[str], draws: int) -> Estimate:
    kept = value if math.isfinite(value) else math.nan
    return estimate_by_weights(statistic, patients, value=kept, draws=draws, undefined=_UNDEFINED)


def _cohen_of(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cohen's kappa of tables, one a row: `(resamples, 9)`."""
    tables = cells.reshape(len(cells), len(_CATEGORIES), len(_CATEGORIES))
    tables = tables / tables.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(tables, axis1=1, axis2=2)
    return _beyond_chance(observed, (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1))


def _beyond_chance(observed: NDArray[np.float64], by_chance: NDArray[np.float64]) -> NDArray[np.float64]:
    room = 1 - by_chance
    return np.divide(observed - by_chance, room, out=np.full_like(observed, np.nan), where=room > 1e-12)


def _pairs(finding: str, window: str, ratings: Sequence[Rating], draws: int) -> list[PairAgreement]:
    raters = sorted({rater for one in ratings for rater in one.values}, key=lambda name: (name != MODEL, name))
    found = []
    for first, second in combinations(raters, 2):
        both = [one for one in ratings if first in one.values and second in one.values]
        if not both:
            continue
        a, b = ([one.values[name] for one in both] for name in (first, second))
        estimate = cohen(a, b, [one.patient for one in both], draws)
        blind = sum(second in one.was_blind for one in both) / len(both) if first == MODEL else None
        found.append(
            PairAgreement(
                first=first,
                second=second,
                finding=finding,
                window=window,
                n=len(both),
                observed=sum(x is y for x, y in zip(a, b, strict=True)) / len(both),
                kappa=estimate.value,
                low=estimate.low,
                high=estimate.high,
                blind_share=blind,
                reason=estimate.reason,
            )
        )
    return found


def _groups(finding: str, window: str, ratings: Sequence[Rating], draws: int) -> list[GroupAgreement]:
    readers = tuple(sorted({rater for one in ratings for rater in one.values if rater != MODEL}))
    complete = [one for one in ratings if all(reader in one.values for reader in readers)]
    if len(readers) < _FEWEST or not complete:
        return []
    votes = np.zeros((len(complete), len(_CATEGORIES)))
    for row, one in enumerate(complete):
        for reader in readers:
            votes[row, _PLACE[one.values[reader]]] += 1
    estimate = fleiss(votes, [one.patient for one in complete], draws)
    return [
        GroupAgreement(
            finding=finding,
            window=window,
            readers=readers,
            n=len(complete),
            kappa=estimate.value,
            low=estimate.low,
            high=estimate.high,
            reason=estimate.reason,
        )
    ]


def _disagreements(ratings: Sequence[Rating]) -> tuple[Disagreement, ...]:
    found = [
        Disagreement(
            handle=one.handle, title=one.title, finding=one.finding, values=one.values, decided_at=one.decided_at
        )
        for one in ratings
        if len(set(one.values.values())) > 1
    ]
    return tuple(sorted(found, key=lambda one: one.decided_at, reverse=True))


def _within(moment: str, first: date | None, last: date | None) -> bool:
    try:
        day = datetime.fromisoformat(moment).date()
    except ValueError:
        return first is None and last is None
    return (first is None or day >= first) and (last is None or day <= last)


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no day; write it as 2026-01-31") from error
