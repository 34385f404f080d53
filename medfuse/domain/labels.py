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


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """What a model predicts, in the order of its outputs.

    Args:
        findings: Names of the findings, unique.
        segments: Names of the segments, unique; segment `n` of a label map is `segments[n - 1]`, 0 is background.
    """

    findings: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind, names in (("findings", self.findings), ("segments", self.segments)):
            if len(set(names)) != len(names) or not all(names):
                raise ValueError(f"{kind} must be unique and named, not {list(names)}")
        if not self.findings and not self.segments:
            raise ValueError("a label set holds at least one finding or segment")
