"""Phrases of a language as one pattern: the small notation that headings, cues and lexica of findings are written in.

A phrase is words as they are spoken, in lower or upper case, with or without accents. `*` stands for the rest of a
word (`nodul*`, `*erguss`; twice a word at most), `a|b` for either word, `word?` for a word that may be missing, and
`...` for up to four words of the same sentence (three times at most). `,` stands for itself, `:` for a colon or a dash,
and `.` at the end for the end of the clause; a hyphen in a word may also be a space or nothing. Phrases in Chinese have
no word boundaries, and their `...` stands for up to eight characters of the same clause.

Phrases instead of regular expressions, because lexica come from users: whatever is written in this notation compiles
to a pattern that takes time linear in the text, and a typing error in it is found when it is read.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

LONGEST_PHRASE = 300
"""Characters that a phrase may have."""

_MOST_GAPS = 3
_MOST_RESTS = 2

_T = TypeVar("_T")

_WORD_START = r"(?<!\w)"
_GAP = r"[\s\-]{1,8}"
_WORDS_BETWEEN = r"(?:[\s,]{1,8}[^\s.;:,]{1,40}){0,4}?"
_CHARACTERS_BETWEEN = r"[^。;；,，\n]{0,8}?"
_IDEOGRAPH = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_TOKEN = re.compile(r"\.\.\.|\.\Z|\?(?!\S)|[^\s.?]+(?:\.[^\s.?]+)*\??")
_MARKS = {
    ",": r"\s{0,8},[\s*_]{0,8}",
    ":": r"(?:\s{0,8}:[\s*_]{0,8}|\s{1,8}-{1,2}\s{1,8})",
    "?": r"\s{0,4}\?",
    ".": r"(?=\s{0,8}(?:[.,;\n]|\Z))",
}
_FIRST_MARKS = {",": r",[\s*_]{0,8}", ":": r"(?::[\s*_]{0,8}|(?<=\s)-{1,2}\s{1,8})", "?": r"\?"}
_CLAUSE_END = "."
_ELLIPSIS = "..."


class Hit(NamedTuple, Generic[_T]):
    """A phrase found: its offsets in the text, the phrase as it was given, and what it stands for."""

    start: int
    end: int
    phrase: str
    meaning: _T


class _Fold(dict[int, int]):
    """Code point -> code point in lower case without accents, one for one, so that offsets stay."""

    def __missing__(self, code: int) -> int:
        base = unicodedata.normalize("NFKD", chr(code))[:1].lower()
        kept = [c for c in unicodedata.normalize("NFKD", chr(code)) if not unicodedata.combining(c)]
        self[code] = ord(base) if len(kept) == 1 and len(base) == 1 else code
        return self[code]


_FOLD = _Fold({ord("’"): ord("'"), ord("‐"): ord("-"), ord("‑"): ord("-"), ord("–"): ord("-")})


def fold(text: str) -> str:
    """`text` in lower case, without accents and in plain width; every character stays at its offset."""
    return text.translate(_FOLD)


class Phrases(Generic[_T]):
    """Phrases that are looked for together; where several fit, the longest one counts, of equal ones the first.

    Args:
        meanings: Phrase -> what it stands for.

    Raises:
        ValueError: A phrase is empty, too long, or is not written in the notation.
    """

    def __init__(self, meanings: Mapping[str, _T]) -> None:
        ordered = sorted(meanings.items(), key=lambda item: _weight(item[0]), reverse=True)
        at_words: list[str] = []
        anywhere: list[str] = []
        self._entries: list[tuple[str, _T]] = []
        made = [(_branches(phrase), phrase, meaning) for phrase, meaning in ordered]
        for target, wanted in ((at_words, True), (anywhere, False)):
            for (is_word, branches), phrase, meaning in made:
                if is_word is wanted:
                    target.extend(f"{branch}()" for branch in branches)  # the empty group tells which one it was
                    self._entries.extend((phrase, meaning) for _ in branches)
        parts = [f"{_WORD_START}(?:{'|'.join(at_words)})"] if at_words else []
        self._pattern = re.compile("|".join([*parts, *anywhere])) if self._entries else None

    def find(self, folded: str, start: int = 0, end: int | None = None) -> Iterator[Hit[_T]]:
        """The phrases of a folded text (see `fold`), from left to right, none overlapping another."""
        if self._pattern is None:
            return
        for match in self._pattern.finditer(folded, start, len(folded) if end is None else end):
            phrase, meaning = self._entries[(match.lastindex or 1) - 1]
            yield Hit(match.start(), match.end(), phrase, meaning)


def pattern_of(phrase: str) -> str:
    """The regular expression of one phrase, for folded text, without capturing groups.

    Raises:
        ValueError: The phrase is empty, too long, or is not written in the notation.
    """
    is_word, branches = _branches(phrase)
    return (_WORD_START if is_word else "") + f"(?:{'|'.join(branches)})"


def simplest(phrase: str) -> str:
    """A phrase in its shortest wording, for people: the first word of each choice, nothing that may be left out."""
    tokens = [token for token in phrase.split() if not (token.endswith("?") and len(token) > 1)]
    return " ".join(token.split("|")[0] for token in tokens)


def _branches(phrase: str) -> tuple[bool, list[str]]:
    """Whether the phrase begins with a word, and one pattern for each word that it may begin with.

    Patterns that begin with a letter let the regular expression engine pass over most of them at a glance.
    """
    if len(phrase) > LONGEST_PHRASE:
        raise ValueError(f"a phrase has at most {LONGEST_PHRASE} characters, found {len(phrase)}")
    folded = fold(phrase.strip())
    tokens = _TOKEN.findall(folded)
    if not tokens or "".join(tokens) != "".join(folded.split()):
        raise ValueError(f"not a phrase: {phrase!r}; write words, with *, |, ? and ... as the notation has them")
    if tokens.count(_ELLIPSIS) > _MOST_GAPS or any(
        choice.count("*") > _MOST_RESTS for token in tokens for choice in token.split("|")
    ):
        raise ValueError(f"not a phrase: {phrase!r}; it has at most {_MOST_GAPS} ... and {_MOST_RESTS} * a word")
    if tokens[0] in (_ELLIPSIS, _CLAUSE_END) or tokens[-1] == _ELLIPSIS:
        raise ValueError(f"not a phrase: {phrase!r}; it begins and ends with a word")
    if _IDEOGRAPH.search(folded):
        return False, [_ideographs(tokens)]
    if tokens[0] in _MARKS:
        return False, [_words(tokens)]
    if tokens[0].endswith("?"):
        (_, without), (_, with_it) = _branches(" ".join(tokens[1:])), _branches(" ".join([tokens[0][:-1], *tokens[1:]]))
        return True, [*with_it, *without]
    return True, [_words([choice, *tokens[1:]]) for choice in tokens[0].split("|")]


def _words(tokens: list[str]) -> str:
    """Words with gaps before all but the first; a mark brings its own gaps."""
    pattern = gap = ""
    for token in tokens:
        if token == _ELLIPSIS:
            pattern += _WORDS_BETWEEN
        elif token in _MARKS:
            pattern, gap = pattern + (_MARKS[token] if pattern else _FIRST_MARKS[token]), ""
            continue
        elif token.endswith("?"):
            pattern += f"(?:{gap}{_word(token[:-1])})?" if gap else f"(?:{_word(token[:-1])}{_GAP})?"
            continue
        else:
            pattern += gap + _word(token)
        gap = _GAP
    return pattern if tokens[-1] in _MARKS else rf"{pattern}(?!\w)"


def _ideographs(tokens: list[str]) -> str:
    parts = []
    for token in tokens:
        if token == _ELLIPSIS:
            parts.append(_CHARACTERS_BETWEEN)
        elif token.endswith("?"):
            parts.append(f"(?:{_word(token[:-1], rest='')})?")
        else:
            parts.append(_word(token, rest=""))
    return r"\s{0,4}".join(parts)


def _word(token: str, rest: str = r"\w{0,40}") -> str:
    """One word, or several to choose from. A lone mark inside a word has to be a hyphen, slash, point or apostrophe."""
    choices = token.split("|")
    if not all(choice.strip("*") for choice in choices):
        raise ValueError(f"not a phrase: {token!r} has a choice without a word")
    made = [re.escape(choice).replace(r"\*", rest).replace(r"\-", r"[\s\-]{0,3}") for choice in choices]
    return made[0] if len(made) == 1 else f"(?:{'|'.join(made)})"


def _weight(phrase: str) -> tuple[int, int]:
    """How specific a phrase is: its words, then its letters. Equal ones count in the order in which they are given."""
    words = [word for word in simplest(phrase).replace(_ELLIPSIS, " ").split() if word not in _MARKS]
    return len(words), sum(map(len, words))
