"""The recipe: everything that turns a study into arrays, as plain data that a checkpoint carries."""

import re
from dataclasses import dataclass

from medfuse.domain.report import ANSWER_SECTIONS, SAFE_SECTIONS, SectionName
from medfuse.domain.study import Modality
from medfuse.errors import ConfigError, LabelLeakageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """An intensity window: `low` maps to -1, `high` to 1, values beyond are clipped. In HU for a CT."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"a window needs low < high, not {self.low} and {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRule:
    """Which series of a study fills one input channel.

    Args:
        name: Name of the channel, e.g. `t1ce`.
        modality: Modality that the series must have; None for any.
        match: Regular expression that the series description must contain, case ignored; empty matches all.
        exclude: Regular expression that it must not contain; empty excludes none.
        window: Intensity window; None standardises by the mean and deviation of the foreground.
    """

    name: str
    modality: Modality | None = None
    match: str = ""
    exclude: str = ""
    window: Window | None = None

    def __post_init__(self) -> None:
        for pattern in (self.match, self.exclude):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(f"channel {self.name}: {pattern!r} is no regular expression: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """From a study to the network's input.

    Args:
        channels: Input channels in order; names unique.
        spacing_mm: Spacing of the model grid along its i, j, k axes (nearest to L, P, S).
        size: Shape of the network's input; smaller studies are padded, larger ones are read in windows.
        text_sections: Report sections that the text encoder reads.
        allow_leakage: Permit sections that state the answer; stamped on the checkpoint and shown with its figures.

    Raises:
        ConfigError: No channels, or a spacing or size that is not positive.
        LabelLeakageError: FINDINGS, IMPRESSION or text under no heading is asked for without `allow_leakage`.
    """

    channels: tuple[ChannelRule, ...]
    spacing_mm: tuple[float, float, float]
    size: tuple[int, int, int]
    text_sections: tuple[SectionName, ...] = SAFE_SECTIONS
    allow_leakage: bool = False

    def __post_init__(self) -> None:
        names = [channel.name for channel in self.channels]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"recipe.channels needs at least one channel and unique names, not {names}")
        if min(self.spacing_mm) <= 0 or min(self.size) < 1:
            raise ConfigError(f"recipe: spacing {self.spacing_mm} and size {self.size} must be positive")
        leaking = [name for name in self.text_sections if name in ANSWER_SECTIONS or name is SectionName.OTHER]
        if leaking and not self.allow_leakage:
            raise LabelLeakageError(
                f"recipe.text_sections asks for {', '.join(leaking)}, which may state the answer; take "
                f"{', '.join(SAFE_SECTIONS)}, or set recipe.allow_leakage: true to have it stamped on the checkpoint"
            )
