"""Clinical text, whole and in sections."""

from dataclasses import dataclass
from enum import StrEnum


class SectionName(StrEnum):
    """The sections of a radiology report; `OTHER` holds text under no known heading."""

    INDICATION = "INDICATION"
    HISTORY = "HISTORY"
    TECHNIQUE = "TECHNIQUE"
    COMPARISON = "COMPARISON"
    FINDINGS = "FINDINGS"
    IMPRESSION = "IMPRESSION"
    OTHER = "OTHER"


ANSWER_SECTIONS = frozenset({SectionName.FINDINGS, SectionName.IMPRESSION})
"""Sections that state what the reader saw: as model input they leak the label."""

SAFE_SECTIONS = (SectionName.INDICATION, SectionName.HISTORY, SectionName.TECHNIQUE)
"""Sections written before the images were read: the default text input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSection:
    """A stretch of a report under one heading.

    Args:
        name: Which section it is.
        start: Offset of its first character, heading included, in `Report.text`.
        end: Offset behind its last character.
        body_start: Offset of the first character behind the heading; equals `start` without one.
    """

    name: SectionName
    start: int
    end: int
    body_start: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.body_start <= self.end:
            raise ValueError(f"section offsets out of order: {self.start}, {self.body_start}, {self.end}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report and its sections; the sections tile the text, so that none of it is lost.

    Raises:
        ValueError: The sections leave a gap, overlap, or end before the text does.
    """

    text: str
    sections: tuple[ReportSection, ...]

    def __post_init__(self) -> None:
        position = 0
        for section in self.sections:
            if section.start != position:
                raise ValueError(f"section {section.name} starts at {section.start}, expected {position}")
            position = section.end
        if position != len(self.text):
            raise ValueError(f"the sections end at {position}, the text at {len(self.text)}")

    def body(self, section: ReportSection) -> str:
        """The text of a section without its heading, stripped."""
        return self.text[section.body_start : section.end].strip()

    def select(self, names: tuple[SectionName, ...]) -> str:
        """The bodies of the named sections in the report's order, joined by a line break; empty when it has none."""
        bodies = (self.body(section) for section in self.sections if section.name in names)
        return "\n".join(body for body in bodies if body)
