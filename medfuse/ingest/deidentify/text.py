"""Scrub free text: what the headers of the patient's own files name, and what looks like an identity in any text.

No rule finds every identity in free text; whoever releases scrubbed text has to read it, or have it read. Names without
a title or a label in front are found only when a header holds them.

Looked at: Microsoft Presidio finds names with a language model of hundreds of megabytes a language and needs spaCy or
torch; philter and pydeid read English only. None of them knows the names in the headers, which settle most cases here.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from medfuse.ingest.deidentify.patterns import RULES, UID_IN_TEXT, Rule

_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})
_NO_NAMES = frozenset(
    {
        *("dr", "md", "phd", "prof", "mr", "mrs", "ms", "miss", "herr", "frau", "med", "jr", "sr", "ii", "iii"),
        *("none", "unknown", "anonymous", "anon", "anonymized", "anonymised", "removed", "patient", "test", "na"),
        *("and", "the", "von", "van", "der", "den", "del", "dos", "und", "of", "no", "not", "de", "la", "le", "el"),
        *("al", "di", "da", "name", "physician", "doctor", "hospital"),
    }
)
_SHORTEST_PHRASE = 4


@dataclass(slots=True)
class Identities:
    """What the headers of one patient's files name.

    Args:
        names: Parts of names of persons.
        phrases: Identifiers, addresses, institutions and the like, taken as a whole.
    """

    names: set[str] = field(default_factory=set)
    phrases: set[str] = field(default_factory=set)

    def add_name(self, name: str) -> None:
        """Take the parts of a DICOM person name (PS3.5 section 6.2.1) or of a name in plain words."""
        for part in re.split(r"[\^=\s,;\\]+", name):
            word = part.strip(".-'’()[]\0")
            if len(word) >= 2 and word.casefold() not in _NO_NAMES and not word.isdigit():
                self.names.add(word)

    def add_phrase(self, phrase: str) -> None:
        """Take an identifier or an address; what is too short to be told from other text is left."""
        plain = " ".join(phrase.split()).strip("\0 ")
        is_long = len(plain) >= _SHORTEST_PHRASE or any(letter >= "\u2e80" for letter in plain)
        if is_long and plain.casefold() not in _NO_NAMES:
            self.phrases.add(plain)


class Scrubber:
    """Takes identities out of text.

    Args:
        identities: Those that are known.
        uid: Gives the UID that stands for a UID in the text.
    """

    def __init__(self, identities: Identities, uid: Callable[[str], str]) -> None:
        self._uid = uid
        self._known = (("ID", _any_of(identities.phrases)), ("NAME", _any_of(identities.names)))

    def scrub(self, text: str) -> tuple[str, Counter[str]]:
        """The text with `[NAME]`, `[ID]`, `[DATE]`, ... in place of what was found, and the count of each kind."""
        text, counts = self.scrub_known(text)
        text = UID_IN_TEXT.sub(lambda match: self._counted_uid(match[0], counts), text)
        for rule in RULES:
            text = _applied(rule, text, counts)
        return text, counts

    def scrub_known(self, text: str) -> tuple[str, Counter[str]]:
        """Take out only what the headers name."""
        counts: Counter[str] = Counter()
        for kind, pattern in self._known:
            if pattern is not None:
                text, n = pattern.subn(f"[{kind}]", text)
                counts[kind] += n
        return text, +counts

    def _counted_uid(self, uid: str, counts: Counter[str]) -> str:
        new = self._uid(uid)
        counts["UID"] += new != uid
        return new


def _applied(rule: Rule, text: str, counts: Counter[str]) -> str:
    def replaced(match: re.Match[str]) -> str:
        if set(match[rule.group].split()) <= {"[NAME]", "[ID]", ""}:
            return match[0]
        counts[rule.kind] += 1
        start, end = (place - match.start() for place in match.span(rule.group))
        return match[0][:start] + ("90" if rule.kind == "AGE" else f"[{rule.kind}]") + match[0][end:]

    return rule.pattern.sub(replaced, text)


def _any_of(values: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern for any of the values, in any case and spelling of accents, the longest first.

    Latin words must stand alone; a name of two letters must be written with a capital. Text in scripts without spaces
    is found anywhere.
    """
    spellings = {spelling for value in values for spelling in _spellings(value)}
    branches = [_branch(spelling) for spelling in sorted(spellings, key=lambda value: (-len(value), value))]
    return re.compile("|".join(branches)) if branches else None


def _branch(value: str) -> str:
    words = r"[\s^,_\-]{1,3}".join(re.escape(word) for word in re.split(r"[\s^,_\-]+", value) if word) or re.escape(
        value
    )
    if any(letter >= "\u2e80" for letter in value):
        return words
    if len(value) == 2:
        return rf"(?<![^\W_])(?:{re.escape(value.capitalize())}|{re.escape(value.upper())})(?![^\W_])"
    return rf"(?<![^\W_])(?i:{words})(?![^\W_])"


def _spellings(value: str) -> set[str]:
    """A value as it stands, without accents, and with German letters written out."""
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", value) if not unicodedata.combining(letter))
    forms = {unicodedata.normalize("NFC", value), unicodedata.normalize("NFD", value), value.translate(_GERMAN), bare}
    return {form for form in forms if form.strip()}
