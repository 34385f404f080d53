"""The YAML of a lexicon (`configs/labels/*.yaml`) -> `medfuse.ingest.reports.lexicon.Lexicon`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medfuse.config.load import load_config
from medfuse.domain import LabelValue, SectionName
from medfuse.ingest.reports.lexicon import FindingTerms, Lexicon


class FindingConfig(BaseModel):
    """One finding of a lexicon; the keys are those of `FindingTerms`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    terms: dict[str, list[str]]
    absent: dict[str, list[str]] = Field(default_factory=dict)
    exclude: dict[str, list[str]] = Field(default_factory=dict)
    sections: list[SectionName] | None = None
    count_history: bool = False
    count_relatives: bool = False
    uncertain_as: LabelValue = LabelValue.UNCERTAIN

    @model_validator(mode="after")
    def _phrases_fit(self) -> "FindingConfig":
        self.finding()
        return self

    def finding(self) -> FindingTerms:
        """The finding, its phrases checked."""
        terms, absent, exclude = (
            {language: tuple(phrases) for language, phrases in names.items()}
            for names in (self.terms, self.absent, self.exclude)
        )
        return FindingTerms(
            terms=terms,
            absent=absent,
            exclude=exclude,
            sections=None if self.sections is None else tuple(self.sections),
            count_history=self.count_history,
            count_relatives=self.count_relatives,
            uncertain_as=self.uncertain_as,
        )


class LexiconConfig(BaseModel):
    """A lexicon file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    findings: dict[str, FindingConfig] = Field(min_length=1)
    sections: list[SectionName] = Field(
        default_factory=lambda: [SectionName.FINDINGS, SectionName.IMPRESSION], min_length=1
    )
    unmentioned: Literal["NOT_ASSESSED", "ABSENT"] = "NOT_ASSESSED"


def load_lexicon(path: Path) -> Lexicon:
    """Read a lexicon of findings.

    Args:
        path: A YAML file; a relative path that does not exist is looked up among the configs that ship with medfuse.

    Raises:
        ConfigError: The file cannot be read, a key is unknown, or a phrase is not written in the notation.
    """
    config = load_config(path, [], LexiconConfig)
    return Lexicon(
        findings={name: finding.finding() for name, finding in config.findings.items()},
        sections=tuple(config.sections),
        unmentioned=LabelValue.ABSENT if config.unmentioned == "ABSENT" else LabelValue.NOT_ASSESSED,
    )
