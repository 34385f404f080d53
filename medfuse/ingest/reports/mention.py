"""Where a report mentions findings, and what it says of each mention; and the labels that follow."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from medfuse.domain import LabelValue, Report, SectionName
from medfuse.ingest.reports.assertion import Assertion, Context, Experiencer
from medfuse.ingest.reports.languages import language_of
from medfuse.ingest.reports.lexicon import Lexicon, Term
from medfuse.ingest.reports.phrases import fold
from medfuse.ingest.reports.sectioning import parse_report


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One place where a report names a finding.

    Args:
        finding: The lexicon's name of it.
        start: Offset of its first character in the report's text.
        end: Offset behind its last character.
        section: Where it stands.
        assertion: What is said of it.
        phrase: The phrase of the lexicon that found it.
    """

    finding: str
    start: int
    end: int
    section: SectionName
    assertion: Assertion
    phrase: str


def mentions(text: str | Report, lexicon: Lexicon, *, language: str | None = None) -> tuple[Mention, ...]:
    """Every mention of a lexicon's findings in a report, in the order of the text.

    Headings are no mentions, and no cue reaches from one section into the next. Phrases of English are looked for in
    reports of every language as well, since readers use them everywhere.

    Args:
        text: The report, or its text.
        lexicon: What to look for.
        language: The report's language (`en`, `de`, `fr`, `es`, `zh`); told from its words when left out.
    """
    report = parse_report(text) if isinstance(text, str) else text
    spoken = language or language_of(report.text)
    found: list[Mention] = []
    for section in report.sections:
        body = report.text[section.body_start : section.end]
        context, folded = Context(body, spoken), fold(body)
        for finding, phrases in lexicon.phrases(spoken).items():
            found += [
                Mention(
                    finding=finding,
                    start=section.body_start + hit.start,
                    end=section.body_start + hit.end,
                    section=section.name,
                    assertion=_as_told(context.assess(hit.start, hit.end), hit.meaning),
                    phrase=hit.phrase,
                )
                for hit in phrases.find(folded)
                if hit.meaning is not Term.EXCLUDED
            ]
    return tuple(sorted(found, key=lambda mention: (mention.start, mention.end, mention.finding)))


def labels_of(found: Iterable[Mention], lexicon: Lexicon) -> dict[str, LabelValue]:
    """The label of every finding: present beats uncertain, which beats absent.

    Only mentions in the sections that the lexicon reads count. What is asked for or warned of does not count, nor do a
    relative's finding and the past, unless the finding says so.

    Args:
        found: Mentions of one report, or of all reports of one study.
        lexicon: Which findings there are, and what counts.
    """
    values: dict[str, set[LabelValue]] = {name: set() for name in lexicon.findings}
    for mention in found:
        if is_counted(mention, lexicon):
            value = mention.assertion.value
            as_ = lexicon.findings[mention.finding].uncertain_as
            values[mention.finding].add(as_ if value is LabelValue.UNCERTAIN else value)
    order = (LabelValue.PRESENT, LabelValue.UNCERTAIN, LabelValue.ABSENT)
    return {name: next((v for v in order if v in seen), lexicon.unmentioned) for name, seen in values.items()}


def is_counted(mention: Mention, lexicon: Lexicon) -> bool:
    """Whether a mention takes part in the label of its finding."""
    terms, said = lexicon.findings[mention.finding], mention.assertion
    return (
        mention.section in lexicon.sections_of(mention.finding)
        and not said.is_hypothetical
        and (terms.count_history or not said.is_historical)
        and (terms.count_relatives or said.experiencer is Experiencer.PATIENT)
    )


def _as_told(assertion: Assertion, kind: Term) -> Assertion:
    """What a phrase says that states absence by itself: the opposite of what is said of it."""
    if kind is not Term.STATES_ABSENCE or assertion.value is LabelValue.UNCERTAIN:
        return assertion
    turned = LabelValue.PRESENT if assertion.value is LabelValue.ABSENT else LabelValue.ABSENT
    return replace(assertion, value=turned)
