"""Choosing the series that fills each input channel, with the record of why."""

from collections.abc import Sequence
from dataclasses import dataclass

from medfuse.domain.study import Series
from medfuse.preprocess.conditions import MEASURES, TEXTS, Condition, Measure, Preference, Text
from medfuse.preprocess.contrast import contrast_of
from medfuse.preprocess.patterns import found
from medfuse.preprocess.presets import PRESETS
from medfuse.preprocess.rules import ChannelRule


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePart:
    """What one preference gave a series: its name in the rule, the points, and the number that earned a share."""

    name: str
    points: float
    number: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One series before one rule.

    Args:
        series: The series.
        obstacles: Why it may not fill the channel, in words without header text; empty where it may.
        parts: What each preference gave it, those that gave nothing left out; only where it may fill the channel.
        remarks: What else was decided of it, e.g. how contrast was told.
    """

    series: Series
    obstacles: tuple[str, ...] = ()
    parts: tuple[ScorePart, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it may fill the channel."""
        return not self.obstacles

    @property
    def points(self) -> float:
        """The sum of the parts."""
        return round(sum(part.points for part in self.parts), 6)

    @property
    def rank(self) -> tuple[float, int, int, str]:
        """What it is sorted by among those that fit, best first; no two series of a study are equal."""
        number = self.series.number if self.series.number is not None else 1 << 40
        return -self.points, -slices_of(self.series), number, self.series.key


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDecision:
    """Which series fills a channel, and why.

    Args:
        rule: The channel's rule.
        candidates: Every series of the study: the one that was chosen, the runners-up by rank, then those that may
            not fill the channel.
        reason: Why this one, or why none, in words without header text.
    """

    rule: ChannelRule
    candidates: tuple[Candidate, ...]
    reason: str

    @property
    def chosen(self) -> Series | None:
        """The series that fills the channel, or None."""
        first = self.candidates[0] if self.candidates else None
        return first.series if first is not None and first.fits else None


def decide(series: Sequence[Series], rules: Sequence[ChannelRule]) -> tuple[ChannelDecision, ...]:
    """The series for each channel, with every other series and why not it; in the order of the rules.

    Raises:
        StudyError: `PATTERN_TOO_SLOW`: a pattern of a rule takes too long on a text of the study.
    """
    taken: dict[str, ChannelRule] = {}
    decisions = []
    for rule in rules:
        decision = _decide(series, rule, taken)
        if decision.chosen is not None:
            taken[decision.chosen.key] = rule
        decisions.append(decision)
    return tuple(decisions)


def choose_series(series: Sequence[Series], rules: Sequence[ChannelRule]) -> dict[str, Series]:
    """The series for each channel, by channel name; a channel that no series fits is left out."""
    return {one.rule.name: one.chosen for one in decide(series, rules) if one.chosen is not None}


def decide_or_suggest(series: Sequence[Series], rules: Sequence[ChannelRule] | None) -> tuple[ChannelDecision, ...]:
    """`decide`, or, without rules, the decision of each preset by itself that some series fits.

    Raises:
        StudyError: `PATTERN_TOO_SLOW`.
    """
    if rules is not None:
        return decide(series, rules)
    suggested = [decide(series, [ChannelRule(preset=name)])[0] for name in PRESETS]
    return tuple(one for one in suggested if one.chosen is not None)


def slices_of(series: Series) -> int:
    """The number of slices; of files where nobody looked at the slices."""
    known = series.acquisition.n_slices
    return len(series.files) if known is None else known


def measure(series: Series, name: Measure) -> float | None:
    """A number of a series as a `Condition` names it; None where the header does not say."""
    made, spacing = series.acquisition, series.acquisition.spacing_mm
    if name == "n_slices":
        return slices_of(series)
    if name == "slice_spacing_mm":
        return made.thickness_mm if spacing is None else spacing[2]
    if name == "in_plane_mm":
        return None if spacing is None else max(spacing[:2])
    number: float | None = getattr(made, name)
    return number


def text_of(series: Series, name: Text) -> str:
    """A text of a series as a `Condition` names it; a description that is empty is the protocol name."""
    made = series.acquisition
    if name == "description":
        return series.description or made.protocol
    if name == "image_type":
        return "\\".join(made.image_type)
    text: str = getattr(made, name)
    return text


def _decide(series: Sequence[Series], rule: ChannelRule, taken: dict[str, ChannelRule]) -> ChannelDecision:
    candidates = [_candidate(one, rule, taken.get(one.key)) for one in series]
    fitting = sorted((one for one in candidates if one.fits), key=lambda one: one.rank)
    others = [one for one in candidates if not one.fits]
    return ChannelDecision(rule=rule, candidates=(*fitting, *others), reason=_reason(fitting, others))


def _candidate(series: Series, rule: ChannelRule, taken: ChannelRule | None) -> Candidate:
    obstacles = list(_obstacles(series, rule))
    if taken is not None and not (rule.may_share and taken.may_share):
        obstacles.append(f"fills the channel {taken.name}")
    if obstacles:
        return Candidate(series=series, obstacles=tuple(obstacles))
    asks_contrast = any(one.contrast for one in (rule.must, rule.must_not, *rule.any_of))
    remarks = (_contrast_remark(series, rule),) if asks_contrast else ()
    parts = (_part(series, name, one, rule) for name, one in rule.prefer.items())
    return Candidate(series=series, parts=tuple(one for one in parts if one.points), remarks=remarks)


def _obstacles(series: Series, rule: ChannelRule) -> list[str]:
    if rule.modality is not None and series.modality is not rule.modality:
        return [f"is {series.modality.value}, not {rule.modality.value}"]
    named = text_of(series, "description")
    said = []
    if rule.match and found(rule.match, named) is None:
        said.append("its description is not like match")
    if rule.exclude and (word := found(rule.exclude, named)) is not None:
        said.append(f"its description says {word.strip()!r}, which exclude forbids")
    if rule.any_of and all(_failures(series, one, rule) for one in rule.any_of):
        said.append("neither its name nor its numbers are those of the channel (any_of)")
    said += [f"must: {why}" for why in _failures(series, rule.must, rule)]
    said += [
        f"must_not: {_held(series, name, rule)}"
        for name in rule.must_not.asked()
        if _holds(series, rule.must_not, name, rule)
    ]
    return said


def _failures(series: Series, condition: Condition, rule: ChannelRule) -> list[str]:
    """What of a condition does not hold, in words."""
    return [
        _lacked(series, condition, name, rule)
        for name in condition.asked()
        if not _holds(series, condition, name, rule)
    ]


def _holds(series: Series, condition: Condition, name: str, rule: ChannelRule) -> bool:
    """Whether one thing that a condition asks for holds."""
    wanted = getattr(condition, name)
    if name in TEXTS:
        return found(wanted, text_of(series, name)) is not None
    if name in MEASURES:
        number = measure(series, name)
        return number is not None and bool(wanted.holds(number))
    if name == "contrast":
        return contrast_of(series, rule.contrast_from)[0] is wanted
    return series.acquisition.orientation in wanted


def _lacked(series: Series, condition: Condition, name: str, rule: ChannelRule) -> str:
    wanted = getattr(condition, name)
    if name in TEXTS:
        return f"{name} is not like {_short(wanted)}" if text_of(series, name) else f"{name} is not known"
    if name in MEASURES:
        number = measure(series, name)
        return f"{name} is {'not known' if number is None else f'{number:g}'}, not {wanted}"
    if name == "contrast":
        return f"not known to be {wanted.value} contrast: {contrast_of(series, rule.contrast_from)[1]}"
    return f"orientation is {series.acquisition.orientation or 'not known'}, not {' or '.join(wanted)}"


def _held(series: Series, name: str, rule: ChannelRule) -> str:
    if name in TEXTS:
        word = found(getattr(rule.must_not, name), text_of(series, name)) or ""
        return f"{name} says {word.strip()!r}"
    if name in MEASURES:
        return f"{name} is {measure(series, name):g}"
    if name == "contrast":
        return _contrast_remark(series, rule)
    return f"orientation is {series.acquisition.orientation}"


def _contrast_remark(series: Series, rule: ChannelRule) -> str:
    state, why = contrast_of(series, rule.contrast_from)
    return f"contrast {state.value}: {why}"


def _part(series: Series, name: str, preference: Preference, rule: ChannelRule) -> ScorePart:
    if _failures(series, preference.when, rule):
        return ScorePart(name=name, points=0.0)
    if preference.value is None:
        return ScorePart(name=name, points=preference.points)
    number = measure(series, preference.value)
    return ScorePart(name=name, points=round(preference.points * preference.share(number), 3), number=number)


def _reason(fitting: Sequence[Candidate], others: Sequence[Candidate]) -> str:
    if not fitting:
        return f"none of {len(others)} series may fill it" if others else "the study has no series"
    best, *rest = fitting
    earned = ", ".join(f"{part.name} {part.points:+g}" for part in best.parts)
    scored = f"{best.points:g} points ({earned})" if earned else "fits"
    remarks = "".join(f"; {remark}" for remark in best.remarks)
    if not rest:
        return f"{scored}{remarks}; no other of {1 + len(others)} series may fill it"
    next_ = rest[0]
    if best.points > next_.points:
        lead = f"{best.points - next_.points:g} points before the next of {len(fitting)} that may fill it"
    elif slices_of(best.series) > slices_of(next_.series):
        lead = f"as many points as the next, but more slices ({slices_of(best.series)} to {slices_of(next_.series)})"
    elif best.series.number != next_.series.number:
        lead = "as many points and slices as the next, but the lower series number"
    else:
        lead = "as many points and slices as the next, but the lower UID or part"
    return f"{scored}{remarks}; {lead}"


def _short(pattern: str) -> str:
    return pattern if len(pattern) <= 40 else f"{pattern[:37]}..."
