"""The rule that names the series of an input channel."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from medfuse.domain.study import Modality
from medfuse.errors import ConfigError
from medfuse.preprocess.conditions import ANYTHING, Condition, Preference
from medfuse.preprocess.contrast import ContrastFrom
from medfuse.preprocess.intensity import Window
from medfuse.preprocess.patterns import check_pattern
from medfuse.preprocess.presets import PRESETS


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRule:
    """Which series of a study fills one input channel.

    Of the series that may fill it, the one with the most points of `prefer` does; equal points go to more slices,
    then to the lower series number, then to the lower UID and part. A series fills one channel, and the channels are
    served in order, so that a rule without `prefer` takes the largest series that is left.

    A preset (`data_manifests/channels.md` lists them) is written out when the rule is made: the resolved config and
    the checkpoint hold the rule in full, and choose the same with a later medfuse. What stands beside it goes before
    it: `must`, `must_not` and `prefer` entry by entry, everything else as a whole; a `match` of one's own replaces the
    preset's way to know the series (`match` and `any_of`).

    Args:
        name: Name of the channel, e.g. `t1ce`; the preset's when left out.
        preset: Name of a preset to start from; empty once it is written out.
        modality: Modality that the series must have; None for any.
        match: Regular expression that the series description must contain, case ignored; empty matches all. Where
            a series has no description, its protocol name counts.
        exclude: Regular expression that it must not contain; empty excludes none.
        any_of: Conditions of which at least one has to hold; empty asks nothing.
        must: What has to hold, all of it; unknown is not enough.
        must_not: What may not hold, none of it; unknown is no obstacle.
        prefer: What gives points, by a name of one's own.
        contrast_from: Whether contrast agent was given is told by the `description`, by the Contrast/Bolus `agent`,
            or by `both`: the description first.
        may_share: Let the series fill other channels too, e.g. one CT in two windows.
        window: Intensity window; None standardises by the mean and deviation of the foreground.

    Raises:
        ConfigError: There is no such preset, no name, or a pattern is no regular expression.
    """

    name: str = ""
    preset: str = ""
    modality: Modality | None = None
    match: str = ""
    exclude: str = ""
    any_of: tuple[Condition, ...] = ()
    must: Condition = ANYTHING
    must_not: Condition = ANYTHING
    prefer: Mapping[str, Preference] = field(default_factory=dict)
    contrast_from: ContrastFrom = "both"
    may_share: bool = False
    window: Window | None = None

    def __post_init__(self) -> None:
        if not self.name and not self.preset:
            raise ConfigError("recipe.channels: a channel needs a name or a preset")
        name = self.name or self.preset
        object.__setattr__(self, "name", name)
        for pattern in (self.match, self.exclude):
            check_pattern(pattern, f"channel {name}")
        if self.preset:
            self._write_out()
        object.__setattr__(self, "prefer", {key: one for key, one in self.prefer.items() if one.points})

    def _write_out(self) -> None:
        """Fill in what the preset says, and forget its name."""
        preset = PRESETS.get(self.preset)
        if preset is None:
            raise ConfigError(f"channel {self.name}: no preset {self.preset!r}; there are {', '.join(PRESETS)}")
        filled = {
            "preset": "",
            "modality": self.modality or preset.modality,
            "exclude": self.exclude or preset.exclude,
            "any_of": self.any_of or (() if self.match else preset.any_of),
            "must": self.must.over(preset.must),
            "must_not": self.must_not.over(preset.must_not),
            "prefer": {**preset.prefer, **self.prefer},
            "may_share": self.may_share or preset.may_share,
            "window": self.window or preset.window,
        }
        for key, value in filled.items():
            object.__setattr__(self, key, value)
