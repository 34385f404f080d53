"""Quality gates before the network: a study unlike those of training is flagged, or rejected by policy.

| code | when |
|---|---|
| `UNEXPECTED_MODALITY` | a channel was made by a modality that no training study had there |
| `UNEXPECTED_BODY_PART` | the header names a body part that no training study had there |
| `TOO_FEW_SLICES` | fewer slices than half of the fewest in training |
| `SPACING_OUT_OF_RANGE` | voxels smaller or larger than any in training, by more than a quarter |
| `INTENSITIES_OUT_OF_RANGE` | what the network sees lies beyond training's range by over half of it |
| `NO_CONTRAST_IN_IMAGE` | a channel holds one value only |
| `MISSING_CHANNEL` | a channel is absent that every training study had |
| `MISSING_REPORT` | the model reads text and the study has no report |
| `MISSING_SECTIONS` | there is a report, and none of the sections that the model reads |

A checkpoint without ranges passes all but the last four, which need none (`MISSING_CHANNEL` then: absent at all).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from medfuse.domain import QualityFlag
from medfuse.errors import ConfigError, StudyError
from medfuse.preprocess import PreparedStudy, Recipe
from medfuse.preprocess.ranges import PERCENTILES, ChannelLook, ChannelRange, TrainingRanges, looks_of

FEWEST_SLICES = 0.5
"""Share of the fewest slices in training below which a study has too few."""

SPACING_SLACK = 1.25
"""Factor beyond the spacings of training that still passes."""

LEVEL_SLACK = 0.5
"""Share of the range of training's intensities beyond it that still passes."""

_LEAST_LEVEL_SLACK = 0.1


class Action(StrEnum):
    """What is done about a flag."""

    FLAG = "flag"
    REJECT = "reject"
    IGNORE = "ignore"


CODES = (
    "UNEXPECTED_MODALITY",
    "UNEXPECTED_BODY_PART",
    "TOO_FEW_SLICES",
    "SPACING_OUT_OF_RANGE",
    "INTENSITIES_OUT_OF_RANGE",
    "NO_CONTRAST_IN_IMAGE",
    "MISSING_CHANNEL",
    "MISSING_REPORT",
    "MISSING_SECTIONS",
)
"""The gates, in the order in which they are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What to do about each flag.

    Args:
        actions: Code -> action; a code that is not named is flagged.
    """

    actions: Mapping[str, Action] = field(default_factory=lambda: {"UNEXPECTED_MODALITY": Action.REJECT})

    @classmethod
    def of(cls, content: Any, where: str) -> "Policy":
        """The policy that a file's content describes: code -> `flag`, `reject` or `ignore`.

        Raises:
            ConfigError: It is no mapping, names a code that is none, or another action.
        """
        if not isinstance(content, Mapping):
            raise ConfigError(f"{where}: expected lines like UNEXPECTED_BODY_PART: reject")
        actions = dict(cls().actions)
        for code, action in content.items():
            if code not in CODES:
                raise ConfigError(f"{where}: {str(code)[:60]!r} is no gate; the gates are {', '.join(CODES)}")
            if action not in tuple(Action):
                raise ConfigError(f"{where}: {code} takes one of {', '.join(Action)}, not {str(action)[:60]!r}")
            actions[code] = Action(action)
        return cls(actions=actions)

    def rejecting(self, codes: Iterable[str]) -> "Policy":
        """The same, with some codes rejected; `all` names every one.

        Raises:
            ConfigError: A code is none.
        """
        named = list(codes)
        content = dict.fromkeys(CODES if "all" in named else named, Action.REJECT)
        return Policy(actions={**self.actions, **Policy.of(content, "--reject-flags").actions, **content})

    def judge(self, flags: Iterable[QualityFlag]) -> tuple[QualityFlag, ...]:
        """The flags that stay on the result.

        Raises:
            StudyError: One of them rejects the study; its code is the reason.
        """
        kept = []
        for flag in flags:
            action = self.actions.get(flag.code, Action.FLAG)
            if action is Action.REJECT:
                raise StudyError(f"{flag.detail} (gate {flag.code})", reason=flag.code)
            if action is Action.FLAG:
                kept.append(flag)
        return tuple(kept)


def flags_of(
    prepared: PreparedStudy, recipe: Recipe, ranges: TrainingRanges | None, *, reads_text: bool
) -> tuple[QualityFlag, ...]:
    """What is odd about a prepared study; empty when nothing is.

    Args:
        prepared: The study.
        recipe: How it was prepared.
        ranges: How the training studies looked; None from a checkpoint that does not know.
        reads_text: Whether the model reads text.
    """
    looks = looks_of(prepared.study.series, prepared.image, recipe)
    found: list[QualityFlag] = []
    for name, look in looks.items():
        known = None if ranges is None else ranges.channels.get(name)
        found += [QualityFlag(code=code, detail=f"channel {name}: {detail}") for code, detail in _odd(look, known)]
    found += _missing(prepared, recipe, ranges, reads_text=reads_text)
    return tuple(sorted(found, key=lambda flag: CODES.index(flag.code)))


def _odd(look: ChannelLook, known: ChannelRange | None) -> Iterator[tuple[str, str]]:
    if look.levels is None:
        yield "NO_CONTRAST_IN_IMAGE", "every voxel has the same value"
    if known is None:
        return
    n = known.n_studies
    if look.modality not in known.modalities:
        expected = ", ".join(known.modalities)
        yield "UNEXPECTED_MODALITY", f"made by {look.modality}, the {n} training studies by {expected}"
    if look.body_part and known.body_parts and look.body_part not in known.body_parts:
        expected = ", ".join(known.body_parts)
        yield "UNEXPECTED_BODY_PART", f"the header says {look.body_part}, those of training {expected}"
    if look.n_slices < FEWEST_SLICES * known.slices[0]:
        yield (
            "TOO_FEW_SLICES",
            f"{look.n_slices} slices, the {n} training studies {known.slices[0]} to {known.slices[1]}",
        )
    for spacing, (low, high) in zip(look.spacing_mm or (), known.spacing_mm, strict=False):
        if not low / SPACING_SLACK <= spacing <= high * SPACING_SLACK:
            yield "SPACING_OUT_OF_RANGE", f"voxels {spacing:.2f} mm apart, those of training {low:.2f} to {high:.2f} mm"
            break
    for percentile, level, (low, high) in zip(PERCENTILES, look.levels or (), known.levels, strict=False):
        slack = max(LEVEL_SLACK * (high - low), _LEAST_LEVEL_SLACK)
        if not low - slack <= level <= high + slack:
            detail = f"percentile {percentile:g} of the intensities is {level:.2f}, in training {low:.2f} to {high:.2f}"
            yield "INTENSITIES_OUT_OF_RANGE", detail
            break


def _missing(
    prepared: PreparedStudy, recipe: Recipe, ranges: TrainingRanges | None, *, reads_text: bool
) -> Iterator[QualityFlag]:
    for rule in recipe.channels:
        known = None if ranges is None else ranges.channels.get(rule.name)
        always = ranges is None or (known is not None and known.n_studies == ranges.n_studies)
        if rule.name not in prepared.series and always:
            yield QualityFlag(code="MISSING_CHANNEL", detail=f"channel {rule.name}: no series of the study fills it")
    if not reads_text or prepared.text:
        return
    if not prepared.study.reports:
        yield QualityFlag(code="MISSING_REPORT", detail="the model reads a report and the study has none")
        return
    sections = ", ".join(recipe.text_sections)
    yield QualityFlag(
        code="MISSING_SECTIONS", detail=f"the report has none of the sections that the model reads: {sections}"
    )
