"""What is known about a study, by whom, and what a model is asked to predict."""

from dataclasses import dataclass
from enum import StrEnum


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """What a model predicts, in the order of its outputs.

    Args:
        findings: Names of the findings, unique.
        segments: Names of the segments, unique; segment `n` of a label map is `segments[n - 1]`, 0 is background.
        targets: What is predicted beside findings; their names are unique and no finding's.
    """

    findings: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()

    def __post_init__(self) -> None:
        asked = (*self.findings, *(target.name for target in self.targets))
        for kind, names in (("findings and targets", asked), ("segments", self.segments)):
            if len(set(names)) != len(names) or not all(names):
                raise ValueError(f"{kind} must be unique and named, not {list(names)}")
        if not asked and not self.segments:
            raise ValueError("a label set holds at least one finding, target or segment")
