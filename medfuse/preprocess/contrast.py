"""Whether a series was taken with contrast agent: by its description, by Contrast/Bolus Agent, or by both.

The description goes before the agent, since scanners stamp the agent on series that were taken before it was given;
a description that says nothing, or says both ("W/WO"), leaves it to the agent. The words are those of English, German,
French, Spanish, Portuguese, Italian, Dutch, Polish, Russian, Chinese, Japanese and Korean protocols.
"""

from typing import Literal

from medfuse.domain.study import Series
from medfuse.preprocess.conditions import Contrast
from medfuse.preprocess.patterns import cut_out, found, plain

ContrastFrom = Literal["both", "description", "agent"]

_GAP = r"[\s_.\-/]*"
_AGENT = (
    r"(?:(?:contrast|kontra[sś]|контраст)\w*|gad\w*|gd(?:-?dtpa)?|km|mdc|i\.?v\.?|inj\w*|medio\w*|ce|c|enh\w*|ку)"
    r"(?![a-z])"
)
_AND = rf"(?:{_GAP}(?:and|und|et|y|e|\+|&|,))*{_GAP}"
_BOTH = "|".join(
    [
        rf"(?<![a-z0-9])(?:with|w){_AND}(?:without|w[/\-]?o)(?![a-z])",
        rf"(?<![a-z])(?:pre|vor){_AND}(?:post|nach)(?![a-z])",
        rf"(?<![a-z])(?:mit{_AND}ohne|ohne{_AND}mit|avec{_AND}sans|sans{_AND}avec|con{_AND}sin|sin{_AND}con)(?![a-z])",
    ]
)
_WITHOUT = "|".join(
    [
        rf"(?<![a-z])(?:without|w[/\-]o|wo|w\.o\.?|ohne|sans|sin|senza|sem|zonder|bez|без|vor)(?![a-z])(?:{_GAP}{_AGENT})*",
        rf"(?<![a-z])non?{_GAP}{_AGENT}",
        rf"(?<![a-z])o\.?{_GAP}km(?![a-z])",
        rf"pre(?![a-z]|{_GAP}(?:op|surg|med|sat))(?:{_GAP}{_AGENT})?",
        rf"pre{_GAP}(?:contrast|kontrast|gad|gd|km|inj)\w*",
        r"(?<![a-z])(?:nativ[eo]?|nc(?:ct|ect)?|unenh\w*|nonenh\w*|plain|blanco|basal)(?![a-z])",
        r"(?<![a-z0-9])-\s?c(?![a-z]|[\s_-]*sp)",
        r"平\s?扫|平\s?掃|单纯|単純|増強前|增强前|조영\s?전|натив\w*",
    ]
)
_WITH = "|".join(
    [
        r"post(?!erior|[\s_.\-]*(?:op|proc|surg|biop|treat|rt|mort|void|ictal|stroke)|u)",
        r"(?<![a-z])(?:gd(?:-?dtpa)?|gad(?!get)\w*|[mn]?\.?km|mdc|ce|cect|cemr\w*|cta)(?![a-z])",
        r"\+\s?(?:c|gd|gad\w*|km|k|ce|iv|contrast\w*|kontrast\w*|mdc)(?![a-z])",
        r"(?<![a-z])c\s?\+",
        r"t1w?(?:[\s_\-]*(?:ce|gd|gad\w*|km)|c|k)(?![a-z0-9])",
        r"(?:contrast|kontra[sś])\w*|(?<!un)(?<!non)(?<!non[\s_\-])enhanced|inject\w*|injizier\w*",
        r"magnevist|dotarem|clariscan|prohance|multihance|primovist|eovist|omniscan|elucirem|artirem|iomeron|ultravist",
        r"(?<![a-z])(?:art(?:er\w*)?|(?:porto?|portal)?[\s_\-]*ven(?:ous|[oö]s\w*|osa|eux|euse)?|nephro\w*|late|sp[aä]t)"
        r"[\s_.\-]*(?:ph(?:ase)?|phase|fase)(?![a-z])|port(?:al|o)[\s_\-]*ven\w*",
        r"增强|增強|強化|造影|조영|контраст\w*|(?<![а-я])с ку(?![а-я])",
    ]
)
_NO_AGENT = r"^(?:none|no|non|nein|n/?a|nil|without.*|w/?o.*|no[\s_]*contrast.*|0|-|unknown|ohne.*|sans.*)$"


def contrast_of(series: Series, source: ContrastFrom = "both") -> tuple[Contrast, str]:
    """Whether contrast agent was given, and how that is known, in words that quote no more than a word of protocol.

    Args:
        series: The series.
        source: What to go by.
    """
    named = series.description or series.acquisition.protocol
    if source != "agent":
        state, word = said(named)
        if state is not Contrast.UNKNOWN:
            return state, f"the description says {word!r}"
    agent = plain(series.acquisition.contrast)
    if source == "description" or not agent:
        return Contrast.UNKNOWN, "nothing says whether contrast agent was given"
    if found(_NO_AGENT, agent) is not None:
        return Contrast.WITHOUT, "Contrast/Bolus Agent says none"
    return Contrast.WITH, "Contrast/Bolus Agent is filled"


def said(description: str) -> tuple[Contrast, str]:
    """What a description says of contrast agent, and the word that says it; UNKNOWN where it says nothing or both."""
    left, both = cut_out(_BOTH, description)
    if both is not None:
        return Contrast.UNKNOWN, ""
    left, without = cut_out(_WITHOUT, left)
    _, given = cut_out(_WITH, left)
    if without is not None and given is not None:
        return Contrast.UNKNOWN, ""
    if without is not None:
        return Contrast.WITHOUT, without.strip()
    if given is not None:
        return Contrast.WITH, given.strip()
    return Contrast.UNKNOWN, ""
