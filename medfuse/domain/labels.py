"""What is known about a study, by whom, and what a model is asked to predict."""

import re
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


class LabelValue(StrEnum):
    """The four states of a finding; `NOT_ASSESSED` takes no part in losses or metrics."""

    PRESENT = "PRESENT"
    ABSENT = "ABSENT"
    UNCERTAIN = "UNCERTAIN"
    NOT_ASSESSED = "NOT_ASSESSED"


class Provenance(StrEnum):
    """Where a label comes from."""

    READER = "READER"
    REPORT_DERIVED = "REPORT_DERIVED"
    MODEL = "MODEL"
    PATHOLOGY = "PATHOLOGY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One finding of one study."""

    finding: str
    value: LabelValue
    provenance: Provenance = Provenance.READER

    def __post_init__(self) -> None:
        if not self.finding:
            raise ValueError("a label names its finding")


class TargetKind(StrEnum):
    """What a target's values are: one of several classes, one of ordered grades, or a number."""

    CLASSES = "CLASSES"
    GRADES = "GRADES"
    NUMBER = "NUMBER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something to predict that is no finding: exactly one class, a grade, or a number.

    Args:
        name: Unique among findings and targets.
        kind: What its values are.
        classes: Names of its classes, or of its grades from the lowest on; empty for a number.
        unit: Of a number; may be empty.
    """

    name: str
    kind: TargetKind
    classes: tuple[str, ...] = ()
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a target has a name")
        if self.kind is TargetKind.NUMBER:
            if self.classes:
                raise ValueError(f"target {self.name} is a number and has no classes, not {list(self.classes)}")
        elif len(set(self.classes)) != len(self.classes) or len(self.classes) < 2 or not all(self.classes):
            raise ValueError(f"target {self.name} needs two or more named classes, not {list(self.classes)}")

    def number_of(self, given: str | float) -> float:
        """A value of the target as it is learnt: the position of a class or grade from 0, or the number itself.

        A class is meant by its name, in any letter case where no other differs by that alone; classes that are called
        by numbers are meant by the number too (`2.0` is class `2`).

        Args:
            given: As in a manifest's column.

        Raises:
            ValueError: It is no class, or no number; says what was expected.
        """
        text = str(given).strip()
        if self.kind is TargetKind.NUMBER:
            number = _number(text)
            if number is None:
                raise ValueError(f"expected a number, found {text[:60]!r}")
            return number
        if text in self.classes:
            return float(self.classes.index(text))
        same = [name.casefold() == text.casefold() for name in self.classes]
        if sum(same) != 1 and (number := _number(text)) is not None:
            same = [_number(name) == number for name in self.classes]
        if sum(same) != 1:
            raise ValueError(f"expected one of {', '.join(self.classes)}, found {text[:60]!r}")
        return float(same.index(True))


def _number(text: str) -> float | None:
    """The finite number that a text is, with a point for its decimals; None for any other text."""
    return float(text) if _NUMBER.fullmatch(text) and isfinite(float(text)) else None


MOST_OVERLAPPING = 7
"""So many segments may overlap: each is a bit of a byte, of which the eighth is left for what nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A segment that is the union of what delineations name: a whole tumour of its edema, core and enhancing part.

    Args:
        segment: The segment.
        parts: Names of the delineated regions that make it up.
    """

    segment: str
    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.parts or not all(self.parts) or len(set(self.parts)) != len(self.parts):
            raise ValueError(f"region {self.segment} needs parts, each named once, not {list(self.parts)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """What a model predicts, in the order of its outputs.

    Args:
        findings: Names of the findings, unique.
        segments: Names of the segments, unique; segment `n` of a label map is `segments[n - 1]`, 0 is background.
        targets: What is predicted beside findings; their names are unique and no finding's.
        regions: Segments that are unions of what the delineations name; the others are delineated by their own name.
        overlapping: Whether a voxel may belong to several segments, each of which is then answered by itself. Where a
            label map has to say one thing of a voxel, it names the last of its segments, so that an inner one comes
            after the one around it.

    Source of regions and of their order: nnU-Net's documentation, "Region-based training".
    """

    findings: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    regions: tuple[Region, ...] = ()
    overlapping: bool = False

    def __post_init__(self) -> None:
        asked = (*self.findings, *(target.name for target in self.targets))
        for kind, names in (("findings and targets", asked), ("segments", self.segments)):
            if len(set(names)) != len(names) or not all(names):
                raise ValueError(f"{kind} must be unique and named, not {list(names)}")
        if not asked and not self.segments:
            raise ValueError("a label set holds at least one finding, target or segment")
        self._check_regions()

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """Segment -> the names under which delineations hold it."""
        made_of = {region.segment: region.parts for region in self.regions}
        return {segment: made_of.get(segment, (segment,)) for segment in self.segments}

    @property
    def channels(self) -> int:
        """How many class scores a voxel has: one a segment, and one of the background where they exclude each other."""
        return len(self.segments) + (not self.overlapping)

    def _check_regions(self) -> None:
        named = [region.segment for region in self.regions]
        if unknown := [name for name in named if name not in self.segments]:
            raise ValueError(f"regions name {unknown}, which segments lack")
        if len(set(named)) != len(named):
            raise ValueError(f"regions must name a segment once, not {named}")
        if self.overlapping and len(self.segments) > MOST_OVERLAPPING:
            raise ValueError(f"at most {MOST_OVERLAPPING} segments may overlap, not {len(self.segments)}")
        used = [part for parts in self.parts.values() for part in parts]
        shared = sorted({part for part in used if used.count(part) > 1})
        if shared and not self.overlapping:
            raise ValueError(f"several segments hold {', '.join(shared)}; set overlapping: true, or part them")
