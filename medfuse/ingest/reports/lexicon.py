"""What findings are called in reports: names by language, in the notation of `phrases.py`.

A lexicon is data: `configs/labels/*.yaml` holds those that ship with medfuse, `medfuse.config.lexicon` reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from medfuse.domain import LabelValue, SectionName
from medfuse.domain.report import ANSWER_SECTIONS
from medfuse.ingest.reports.cue_languages import CUES
from medfuse.ingest.reports.phrases import Phrases

MOST_PHRASES = 500
"""Phrases that a finding may have in one language."""

Names = Mapping[str, tuple[str, ...]]
"""Language -> phrases."""


class Term(StrEnum):
    """What a phrase of a lexicon is."""

    NAMES = "NAMES"
    """It names the finding."""
    STATES_ABSENCE = "STATES_ABSENCE"
    """It says by itself that the finding is not there: `heart size normal`."""
    EXCLUDED = "EXCLUDED"
    """It holds the finding's name and means something else: `thyroid nodule`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingTerms:
    """One finding: what it is called, and what counts.

    Args:
        terms: Language -> phrases that name it.
        absent: Language -> phrases that say by themselves that it is not there.
        exclude: Language -> phrases that hold its name and mean something else.
        sections: Sections that are read for it; the lexicon's own where left out.
        count_history: Whether a mention of the past counts as present.
        count_relatives: Whether a relative's finding counts.
        uncertain_as: What an uncertain mention counts as.

    Raises:
        ValueError: A language is unknown, or a phrase is not written in the notation.
    """

    terms: Names
    absent: Names = field(default_factory=dict)
    exclude: Names = field(default_factory=dict)
    sections: tuple[SectionName, ...] | None = None
    count_history: bool = False
    count_relatives: bool = False
    uncertain_as: LabelValue = LabelValue.UNCERTAIN

    def __post_init__(self) -> None:
        if not any(self.terms.values()):
            raise ValueError("a finding has terms in at least one language")
        for names in (self.terms, self.absent, self.exclude):
            for language, phrases in names.items():
                if language not in CUES:
                    raise ValueError(f"unknown language {language!r}; known: {', '.join(CUES)}")
                if len(phrases) > MOST_PHRASES:
                    raise ValueError(f"at most {MOST_PHRASES} phrases in a language, found {len(phrases)}")
        for language in CUES:
            self.phrases(language)

    def phrases(self, language: str) -> Phrases[Term]:
        """All phrases for reports in one language, compiled: its own and the English ones, which readers mix in."""
        kinds = ((self.terms, Term.NAMES), (self.absent, Term.STATES_ABSENCE), (self.exclude, Term.EXCLUDED))
        return Phrases(
            {phrase: kind for names, kind in kinds for spoken in ("en", language) for phrase in names.get(spoken, ())}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """Findings and what they are called.

    Args:
        findings: Name of the finding -> its terms.
        sections: Sections that are read, for findings that name none of their own.
        unmentioned: The label of a finding that a report does not mention: NOT_ASSESSED, or ABSENT for findings that
            readers always report.

    Raises:
        ValueError: There are no findings, or no sections.
    """

    findings: Mapping[str, FindingTerms]
    sections: tuple[SectionName, ...] = tuple(name for name in SectionName if name in ANSWER_SECTIONS)
    unmentioned: Literal[LabelValue.NOT_ASSESSED, LabelValue.ABSENT] = LabelValue.NOT_ASSESSED
    _compiled: dict[str, dict[str, Phrases[Term]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.findings or not all(self.findings):
            raise ValueError("a lexicon has at least one finding, and each has a name")
        if not self.sections:
            raise ValueError("a lexicon reads at least one section")

    def phrases(self, language: str) -> Mapping[str, Phrases[Term]]:
        """Finding -> its compiled phrases of one language; compiled once."""
        if language not in self._compiled:
            self._compiled[language] = {name: terms.phrases(language) for name, terms in self.findings.items()}
        return self._compiled[language]

    def sections_of(self, finding: str) -> tuple[SectionName, ...]:
        """The sections that are read for a finding."""
        return self.findings[finding].sections or self.sections
