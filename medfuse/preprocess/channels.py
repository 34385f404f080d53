"""Choosing the series that fills each input channel."""

import re
from collections.abc import Sequence

from medfuse.domain.study import Series
from medfuse.preprocess.recipe import ChannelRule


def choose_series(series: Sequence[Series], rules: Sequence[ChannelRule]) -> dict[str, Series]:
    """The series for each channel, by channel name; a channel that no series fits is left out.

    Among the series that fit a rule, the one with the most files wins (thin slices over thick), then the lowest
    series number, then the lowest UID. One series fills at most one channel; rules are served in order.
    """
    chosen: dict[str, Series] = {}
    free = list(series)
    for rule in rules:
        fitting = [candidate for candidate in free if fits(candidate, rule)]
        if fitting:
            best = min(fitting, key=_preference)
            chosen[rule.name] = best
            free.remove(best)
    return chosen


def fits(series: Series, rule: ChannelRule) -> bool:
    """Whether a series may fill the rule's channel."""
    if rule.modality is not None and series.modality is not rule.modality:
        return False
    if rule.match and not re.search(rule.match, series.description, re.IGNORECASE):
        return False
    return not (rule.exclude and re.search(rule.exclude, series.description, re.IGNORECASE))


def _preference(series: Series) -> tuple[int, int, str]:
    number = series.number if series.number is not None else 1 << 30
    return -len(series.files), number, series.series_instance_uid
