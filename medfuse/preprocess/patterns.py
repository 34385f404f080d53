"""Regular expressions of a config on texts of a header, at a bounded cost.

The text is cut at `LONGEST_TEXT` characters. That alone does not bound a pattern such as `(a+)+$`, so the search
itself has a time limit, for which the `regex` package is used in place of `re`: a pattern that takes longer than
`PATTERN_SECONDS` ends the study with `PATTERN_TOO_SLOW`, not the run. google-re2, linear by design, has no
look-around, which telling `+C` from `without C` takes.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import regex  # type: ignore[import-untyped]

from medfuse.errors import ConfigError, StudyError

LONGEST_TEXT = 256
"""Characters of a header's text that a pattern sees; a Long String (LO) holds 64 (PS3.5 section 6.2)."""

PATTERN_SECONDS = 1.0
"""What one search may take; sound patterns take microseconds."""


def plain(text: str) -> str:
    """Text as patterns see it: cut, full-width letters made plain (NFKC), white space made single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text[:LONGEST_TEXT])[:LONGEST_TEXT].split())


def check_pattern(pattern: str, where: str) -> None:
    """Refuse what is no regular expression.

    Raises:
        ConfigError: It is none.
    """
    try:
        _compiled(pattern)
    except regex.error as error:
        raise ConfigError(f"{where}: {pattern!r} is no regular expression: {error}") from error


def found(pattern: str, text: str) -> str | None:
    """What `pattern` matches in `text` (see `plain`), case ignored; None where it matches nothing.

    Raises:
        StudyError: `PATTERN_TOO_SLOW`.
    """
    with _limited(pattern):
        match = _compiled(pattern).search(plain(text), timeout=PATTERN_SECONDS)
    return None if match is None else str(match.group())


def cut_out(pattern: str, text: str) -> tuple[str, str | None]:
    """`text` (see `plain`) with a space in place of each match, and the first match; None where there is none.

    Raises:
        StudyError: `PATTERN_TOO_SLOW`.
    """
    first = found(pattern, text)
    if first is None:
        return plain(text), None
    with _limited(pattern):
        return str(_compiled(pattern).sub(" ", plain(text), timeout=PATTERN_SECONDS)), first


@contextmanager
def _limited(pattern: str) -> Iterator[None]:
    """Turn the end of the time limit into the study's error."""
    try:
        yield
    except TimeoutError as error:
        raise StudyError(
            f"the pattern {pattern[:60]!r} of recipe.channels takes longer than {PATTERN_SECONDS:g} s on a series of "
            "the study; write it without nested repeats",
            reason="PATTERN_TOO_SLOW",
        ) from error


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> "regex.Pattern[str]":
    return regex.compile(pattern, regex.IGNORECASE)
