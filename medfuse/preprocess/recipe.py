"""The recipe: everything that turns a study into arrays, as plain data that a checkpoint carries."""

from dataclasses import dataclass
from enum import StrEnum

from medfuse.domain.report import ANSWER_SECTIONS, SAFE_SECTIONS, SectionName
from medfuse.errors import ConfigError, LabelLeakageError
from medfuse.preprocess.rules import ChannelRule


class Registration(StrEnum):
    """When a series is brought onto the reference series by rigid registration, and not by geometry alone."""

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """From a study to the network's input.

    Args:
        channels: Input channels in order; names unique.
        spacing_mm: Spacing of the model grid along its i, j, k axes (nearest to L, P, S).
        size: Shape of the network's input; smaller studies are padded, larger ones are read in windows.
        text_sections: Report sections that the text encoder reads.
        allow_leakage: Permit sections that state the answer; stamped on the checkpoint and shown with its figures.
        registration: Align each series to the first channel's by rigid registration: `auto` where their Frame of
            Reference UIDs are known and differ, `never`, or `always`. Series without that UID (NIfTI) count as
            sharing one space.
        fill_gaps: Interpolate missing slices, and say so, in place of refusing the series.

    Raises:
        ConfigError: No channels, or a spacing or size that is not positive.
        LabelLeakageError: FINDINGS, IMPRESSION or text under no heading is asked for without `allow_leakage`.
    """

    channels: tuple[ChannelRule, ...]
    spacing_mm: tuple[float, float, float]
    size: tuple[int, int, int]
    text_sections: tuple[SectionName, ...] = SAFE_SECTIONS
    allow_leakage: bool = False
    registration: Registration = Registration.AUTO
    fill_gaps: bool = False

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
