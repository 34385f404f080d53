"""What a report says of a finding that it mentions: there, not there, perhaps; now or once; of the patient or not.

A rule set of our own after NegEx (Chapman et al. 2001) and ConText (Harkema et al. 2009, J Biomed Inform 42:839):
cues (`cues.py`) speak of what stands before or behind them in their sentence, up to the next word that ends their
reach; a longer cue takes the place of the shorter ones inside it, and a pseudo-cue of none.

negspaCy 1.1.0 and medspaCy 1.3.1 were looked at and measured in the same run (`tests/benchmarks/bench_negation.py`).
Both bring spaCy, and know the cues of English only.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from medfuse.domain import LabelValue
from medfuse.ingest.reports.cue_languages import CUES
from medfuse.ingest.reports.cues import Cue
from medfuse.ingest.reports.phrases import Hit, Phrases, fold
from medfuse.ingest.reports.sentences import Sentences

LANGUAGES = tuple(CUES)
"""Languages that there are cues for."""

_LONGEST_BEFORE, _LONGEST_BEHIND = 800, 300
"""Characters of a sentence that are looked at around a mention: text without a full stop stays quick to read."""

_REACH = 80
"""How many characters behind a mention a cue may begin that speaks of it."""

_CLAUSE_END = " ."
_FORWARD = frozenset(cue for cue in Cue if cue.endswith("_BEFORE"))
_BACKWARD = frozenset(cue for cue in Cue if cue.endswith("_AFTER"))
_HISTORY = frozenset({Cue.HISTORY_BEFORE, Cue.HISTORY_AFTER})
_HYPOTHETICAL = frozenset({Cue.HYPOTHETICAL_BEFORE, Cue.HYPOTHETICAL_AFTER})
_RELATIVE = frozenset({Cue.RELATIVE_BEFORE, Cue.RELATIVE_AFTER})
_ENDS = {
    Cue.STOP: (_FORWARD | _BACKWARD) - _HISTORY - _RELATIVE,
    Cue.PRESENTING: _HISTORY,
    Cue.OWNER: _RELATIVE,
}


_Cues = Phrases[tuple[Cue, ...]]
_Hits = list[Hit[tuple[Cue, ...]]]


class Experiencer(StrEnum):
    """Whose finding it is."""

    PATIENT = "PATIENT"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What is said of one mention of a finding.

    Args:
        value: PRESENT, ABSENT or UNCERTAIN.
        is_historical: It was there once, or is known from before.
        is_hypothetical: It is asked for, looked for or warned of; nobody says that it is there.
        experiencer: Whose it is.
        cues: The phrases of `cues.py` that say so, in the order of the text; none for a plain mention.
    """

    value: LabelValue = LabelValue.PRESENT
    is_historical: bool = False
    is_hypothetical: bool = False
    experiencer: Experiencer = Experiencer.PATIENT
    cues: tuple[str, ...] = ()


class Context:
    """The cues of one text, to assess any number of mentions in it.

    Args:
        text: The text as it stands.
        language: One of `LANGUAGES`.
    """

    def __init__(self, text: str, language: str = "en") -> None:
        self._folded = fold(text)
        self._sentences = Sentences(text)
        self._before, self._behind = _phrases(language)
        self._found: dict[int, tuple[_Hits, _Hits]] = {}

    def assess(self, start: int, end: int) -> Assertion:
        """What the text says of the words from `start` to `end`."""
        before, behind = self._around(start, end)
        near = [hit for hit in reversed(behind) if hit.start - end <= _REACH]
        speaking = [*_reaching(_FORWARD, before), *reversed(_reaching(_BACKWARD, near))]
        kinds = {cue for _, cue in speaking}
        return Assertion(
            value=_value(kinds),
            is_historical=not kinds.isdisjoint(_HISTORY),
            is_hypothetical=not kinds.isdisjoint(_HYPOTHETICAL),
            experiencer=Experiencer.PATIENT if kinds.isdisjoint(_RELATIVE) else Experiencer.OTHER,
            cues=tuple(dict.fromkeys(phrase for phrase, _ in speaking)),
        )

    def _around(self, start: int, end: int) -> tuple[_Hits, _Hits]:
        """The cues before a mention, and those behind it, in its sentence.

        The mention itself is looked at by neither, so that `no change` inside it hides no `no` before it: where a cue
        of the sentence overlaps the mention, both sides are looked through again.
        """
        first, last = self._sentences.around(start)
        if first not in self._found:
            self._found[first] = (
                list(self._before.find(self._folded, first, last)),
                list(self._behind.find(self._folded, first, last)),
            )
        found = self._found[first]
        first, last = max(first, start - _LONGEST_BEFORE), min(last, end + _LONGEST_BEHIND)
        before, behind = (_between(hits, first, last) for hits in found)
        if any(hit.start < end and start < hit.end for hit in (*before, *behind)):
            return (
                list(self._before.find(self._folded, first, start)),
                list(self._behind.find(self._folded, end, last)),
            )
        return [hit for hit in before if hit.end <= start], [hit for hit in behind if hit.start >= end]


def assess(text: str, start: int, end: int, language: str = "en") -> Assertion:
    """What a text says of the words from `start` to `end`; for several mentions of one text make a `Context`."""
    return Context(text, language).assess(start, end)


@cache
def _phrases(language: str) -> tuple[_Cues, _Cues]:
    """What to look for before a mention, and behind it.

    Cues of the other side are looked for as well, since they take the place of shorter ones inside them (`not` in `not
    seen`), but where words are a cue of both sides they count for their own. Before a mention, the end of the stretch
    is not the end of a clause, so cues that end with one are left out.
    """
    meanings: dict[str, tuple[Cue, ...]] = {}
    for cue, phrases in CUES[language].items():
        for phrase in phrases:
            meanings[phrase] = tuple(sorted((*meanings.get(phrase, ()), cue), key=lambda one: one not in _ENDS))
    before = {p: cues for p, cues in meanings.items() if not p.endswith(_CLAUSE_END)}
    return _own_first(before, _FORWARD), _own_first(meanings, _BACKWARD)


def _own_first(meanings: dict[str, tuple[Cue, ...]], side: frozenset[Cue]) -> _Cues:
    return Phrases(dict(sorted(meanings.items(), key=lambda item: side.isdisjoint(item[1]))))


def _reaching(side: frozenset[Cue], hits: Iterable[Hit[tuple[Cue, ...]]]) -> list[tuple[str, Cue]]:
    """The cues of one side that nothing between them and the mention ends.

    Args:
        side: The cues that speak in the mention's direction.
        hits: From the farthest to the nearest.
    """
    alive: list[tuple[str, Cue]] = []
    for hit in hits:
        for cue in hit.meaning:
            if cue in _ENDS:
                alive = [spoken for spoken in alive if spoken[1] not in _ENDS[cue]]
            elif cue in side:
                alive.append((hit.phrase, cue))
    return alive


def _between(hits: _Hits, first: int, last: int) -> _Hits:
    """The hits that begin in a stretch; `hits` are in order."""
    return hits[bisect_left(hits, first, key=_start) : bisect_left(hits, last, key=_start)]


def _start(hit: Hit[tuple[Cue, ...]]) -> int:
    return hit.start


def _value(kinds: set[Cue]) -> LabelValue:
    if not kinds.isdisjoint((Cue.NEGATION_BEFORE, Cue.NEGATION_AFTER)):
        return LabelValue.ABSENT
    if not kinds.isdisjoint((Cue.UNCERTAIN_BEFORE, Cue.UNCERTAIN_AFTER)):
        return LabelValue.UNCERTAIN
    return LabelValue.PRESENT
