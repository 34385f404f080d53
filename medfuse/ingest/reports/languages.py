"""The language that a report is written in, of those that there are cues for.

Counted small words and ideographs tell five languages apart in a sentence or two; libraries for it (langdetect,
lingua) know hundreds, bring models of their own, and take clinical shorthand for languages that nobody writes here.
"""

import re

from medfuse.ingest.reports.phrases import fold

_WORDS = {
    "en": "the of and with no is are in for there without to was seen left right normal not evidence from at by this",
    "de": "der die das und mit kein keine keinen nicht ist im in von des bei links rechts ohne nachweis auf eine eines "
    "einer zu zur sich als am den dem unauffallig",
    "fr": "le la les et avec de du des pas un une est au aux dans sans a droite gauche aucun aucune pour sur par en il "
    "l d absence",
    "es": "el la los las y con de del no se un una es en sin a por para derecho derecha izquierdo izquierda al que lo "
    "ni su",
}
_FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_IDEOGRAPH = re.compile(r"[\u3400-\u9fff]")
_WORD = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str:
    """The language of a text: `en`, `de`, `fr`, `es` or `zh`; English where nothing tells."""
    words = _WORD.findall(fold(text))
    if 4 * len(_IDEOGRAPH.findall(text)) > sum(map(len, words)):
        return "zh"
    counts = {language: sum(word in known for word in words) for language, known in _FUNCTION_WORDS.items()}
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] > counts["en"] else "en"
