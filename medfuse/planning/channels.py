"""Which input channels a data set offers: the presets that fit enough of its studies."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from medfuse.domain.study import Modality, Series, Study
from medfuse.preprocess.channels import choose_series, decide_or_suggest, measure
from medfuse.preprocess.presets import PRESETS
from medfuse.preprocess.rules import ChannelRule

ENOUGH = 0.2
"""Share of the studies that has to have a series before it becomes a channel; the others lack it then."""
NEARLY_ALL = 0.9
"""Share of a modality's studies that its presets have to cover; else the modality alone is the rule."""
_WINDOWED = ("ct_soft", "ct_lung", "ct_bone")
_GENERIC = {Modality.CT: "ct", Modality.MR: "mr", Modality.PT: "pet", Modality.OTHER: "image"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A channel that a data set offers.

    Args:
        name: Its name.
        preset: The preset that finds it; empty where the modality alone does.
        modality: Its modality.
    """

    name: str
    preset: str
    modality: Modality

    @property
    def rule(self) -> ChannelRule:
        """The rule, without a window of its own."""
        if self.preset:
            return ChannelRule(preset=self.preset)
        return ChannelRule(name=self.name, modality=self.modality)


def offered_channels(studies: Sequence[Study]) -> tuple[tuple[Offer, ...], Mapping[str, int]]:
    """The channels that enough studies can fill, the reference first, and the presets that too few can.

    The reference is what most studies have and, of those, what has the finest slices. A CT is one channel, since its
    window comes from the data.
    """
    fits: Counter[str] = Counter()
    steps: dict[str, list[float]] = {}
    for study in studies:
        for decision in decide_or_suggest(study.series, None):
            if decision.rule.name in _WINDOWED or decision.chosen is None:
                continue
            fits[decision.rule.name] += 1
            steps.setdefault(decision.rule.name, []).append(measure(decision.chosen, "slice_spacing_mm") or 99.0)
    order = {name: place for place, name in enumerate(PRESETS)}

    def rank(name: str) -> tuple[float, float, int]:
        return -round(fits[name] / len(studies), 1), round(median(steps[name]), 1), order[name]

    least = ENOUGH * len(studies)
    offers = [_of(name) for name in sorted(fits, key=rank) if fits[name] >= least]
    offers = _that_share(studies, offers, least)
    for modality in _GENERIC:
        offers = _with_generic(studies, offers, modality, least)
    kept = {offer.preset for offer in offers}
    modalities = {offer.modality for offer in offers if not offer.preset}
    rare = {name: fits[name] for name in sorted(fits) if name not in kept and PRESETS[name].modality not in modalities}
    return tuple(offers), rare


def series_of(study: Study, offers: Sequence[Offer]) -> dict[str, Series]:
    """Channel name -> series, as preparing the study will choose them."""
    return choose_series(study.series, [offer.rule for offer in offers])


def _of(preset: str) -> Offer:
    return Offer(name=preset, preset=preset, modality=PRESETS[preset].modality)


def _that_share(studies: Sequence[Study], offers: list[Offer], least: float) -> list[Offer]:
    """The offers that still have enough studies when a series fills one channel only, the rarest dropped first."""
    while offers:
        counts = Counter(name for study in studies for name in series_of(study, offers))
        poor = [offer for offer in offers if counts[offer.name] < least]
        if not poor:
            break
        offers = [offer for offer in offers if offer != poor[-1]]
    return offers


def _with_generic(studies: Sequence[Study], offers: list[Offer], modality: Modality, least: float) -> list[Offer]:
    """The offers, with the presets of a modality replaced by the modality where they miss too many of its studies."""
    counts = [n for study in studies if (n := sum(one.modality is modality for one in study.series))]
    if len(counts) < least or not counts:
        return offers
    own = [offer for offer in offers if offer.modality is modality]
    covered = sum(bool(series_of(study, own)) for study in studies) if own else 0
    if covered >= NEARLY_ALL * len(counts) or (own and median(counts) > 1):
        return offers
    generic = Offer(name=_GENERIC[modality], preset="", modality=modality)
    return [*(offer for offer in offers if offer.modality is not modality), generic]
