"""What a channel's rule may ask of a series: conditions that hold or do not, and preferences that give points.

A condition never holds of what a header does not say: a `must` on an unknown echo time leaves the series out, a
`must_not` on it does not.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Self, cast, get_args

from medfuse.errors import ConfigError
from medfuse.preprocess.patterns import check_pattern

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, SerializerFunctionWrapHandler
    from pydantic_core import CoreSchema

Orientation = Literal["axial", "coronal", "sagittal", "oblique"]
Text = Literal["description", "protocol", "sequence", "kernel", "body_part", "image_type", "manufacturer"]
Measure = Literal[
    "thickness_mm",
    "slice_spacing_mm",
    "in_plane_mm",
    "n_slices",
    "echo_time_ms",
    "repetition_time_ms",
    "inversion_time_ms",
    "b_value",
]
TEXTS: tuple[Text, ...] = get_args(Text)
"""The texts that are known of a series, as `Condition` names them."""
MEASURES: tuple[Measure, ...] = get_args(Measure)
"""The numbers that are known of a series, as `Condition` names them."""


class Contrast(StrEnum):
    """Whether a contrast agent was given before the series was taken."""

    WITH = "with"
    WITHOUT = "without"
    UNKNOWN = "unknown"


class _Terse:
    """A section that resolved configs and checkpoints write out with what it says, and without its defaults."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """The schema of the dataclass, with a serializer that leaves defaults out."""
        from pydantic_core import core_schema

        schema = cast("dict[str, Any]", handler(source))
        schema["serialization"] = core_schema.wrap_serializer_function_ser_schema(
            _without_defaults, schema=schema.copy()
        )
        return schema


def _without_defaults(section: Any, handler: "SerializerFunctionWrapHandler") -> dict[str, Any]:
    written: dict[str, Any] = handler(section)
    default = {field.name: field.default for field in fields(section)}
    return {key: value for key, value in written.items() if getattr(section, key) != default[key]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Range(_Terse):
    """A range of a number, both ends included; None leaves an end open."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ConfigError(f"a range needs min <= max, not {self.min:g} and {self.max:g}")

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the range."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        low = "" if self.min is None else f"at least {self.min:g}"
        high = "" if self.max is None else f"at most {self.max:g}"
        return " and ".join(part for part in (low, high) if part) or "anything known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition(_Terse):
    r"""What may be asked of a series; what is left out asks nothing.

    Texts are regular expressions that the header's text must contain, case ignored. Where a series has no description
    (0008,103E), its protocol name (0018,1030) counts as the description.

    Args:
        description: Of the series description.
        protocol: Of the protocol name.
        sequence: Of the scanning sequence and the sequence name of an MR.
        kernel: Of the convolution kernel of a CT.
        body_part: Of the body part examined.
        image_type: Of the image type, its values joined by backslashes: `ORIGINAL\PRIMARY\AXIAL`.
        manufacturer: Of the manufacturer.
        orientation: One of these.
        contrast: Whether contrast agent was given, decided as the rule's `contrast_from` says.
        thickness_mm: Slice thickness.
        slice_spacing_mm: Distance between neighbouring slices.
        in_plane_mm: The larger spacing within a slice.
        n_slices: Number of slices; of files where nobody looked.
        echo_time_ms: Echo time.
        repetition_time_ms: Repetition time.
        inversion_time_ms: Inversion time.
        b_value: Diffusion b-value, s/mm2.

    Raises:
        ConfigError: A pattern is no regular expression.
    """

    description: str = ""
    protocol: str = ""
    sequence: str = ""
    kernel: str = ""
    body_part: str = ""
    image_type: str = ""
    manufacturer: str = ""
    orientation: tuple[Orientation, ...] = ()
    contrast: Contrast | None = None
    thickness_mm: Range | None = None
    slice_spacing_mm: Range | None = None
    in_plane_mm: Range | None = None
    n_slices: Range | None = None
    echo_time_ms: Range | None = None
    repetition_time_ms: Range | None = None
    inversion_time_ms: Range | None = None
    b_value: Range | None = None

    def __post_init__(self) -> None:
        for name in TEXTS:
            check_pattern(getattr(self, name), name)

    def asked(self) -> tuple[str, ...]:
        """The names of what the condition asks for."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) != field.default)

    def over(self, other: Self) -> Self:
        """This condition where it asks for something, `other` where it does not."""
        asked = {name: getattr(other, name) for name in other.asked()}
        return type(self)(**(asked | {name: getattr(self, name) for name in self.asked()}))


ANYTHING = Condition()
"""Asks nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference(_Terse):
    """Points for a series: all of them where `when` holds, or a share of them by how good a number is.

    Args:
        points: What it gives at most; negative to avoid something, 0 to switch off a preset's preference.
        when: Conditions that all have to hold for the points.
        value: A number that gives all points at `best`, none at `worst`, and a share in between; none where unknown.
        best: Where, and beyond which, the number gives all points.
        worst: Where, and beyond which, it gives none.

    Raises:
        ConfigError: It says neither `when` nor `value`, or `value` without two different ends.
    """

    points: float
    when: Condition = ANYTHING
    value: Measure | None = None
    best: float | None = None
    worst: float | None = None

    def __post_init__(self) -> None:
        given = {self.value is None, self.best is None, self.worst is None}
        if len(given) == 2 or (self.value is not None and self.best == self.worst):
            raise ConfigError("a preference by number needs value, best and worst, the last two different")
        if self.points and self.value is None and not self.when.asked():
            raise ConfigError("a preference needs `when: {...}`, or value, best and worst")

    def share(self, number: float | None) -> float:
        """How much of the points a number gives, 0 to 1."""
        if self.best is None or self.worst is None:
            return 1.0
        if number is None:
            return 0.0
        return min(max((number - self.worst) / (self.best - self.worst), 0.0), 1.0)
