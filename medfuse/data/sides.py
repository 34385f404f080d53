"""Left and right in words."""

import re

_OTHER = {"left": "right", "right": "left", "lt": "rt", "rt": "lt", "l": "r", "r": "l"}
_SIDE = re.compile(r"\b(?:(left|right)(?=(?:ward|sided|hand)?s?\b)|(lt|rt)(?=[. ])|(?-i:([LR]))(?=\b))", re.IGNORECASE)
_IN_A_NAME = re.compile(r"(?:^|[^a-z])(left|right|lt|rt|l|r)(?:[^a-z]|$)", re.IGNORECASE)


def swap_sides(text: str) -> str:
    """The text with left and right exchanged: whole words, `left-sided`, `lt.` and a capital L or R standing alone."""
    return _SIDE.sub(lambda match: _like(match[0], _OTHER[match[0].lower()]), text)


def names_a_side(name: str) -> bool:
    """Whether the name of a finding or segment tells left from right."""
    return _IN_A_NAME.search(name) is not None


def _like(word: str, other: str) -> str:
    """`other` in the letter case of `word`."""
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other
