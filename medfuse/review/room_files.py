"""The small files of a decisions folder: what it is about, and what findings are called in the reports.

review.json     {"schema_version": 1, "place": where the studies or results lie}
lexicon.json    findings with their phrases, as `medfuse review --findings` was given them
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medfuse.domain import LabelValue, SectionName
from medfuse.errors import UsageError
from medfuse.ingest.reports.lexicon import FindingTerms, Lexicon
from medfuse.review.views import readable
from medfuse.storage import storage, write_file

ROOM_FILE = "review.json"
"""Name of the file that says what the decisions of a folder are about."""

_LEXICON_FILE = "lexicon.json"
_SCHEMA_VERSION = 1


def describe(folder: Path, place: Path) -> None:
    """Make a decisions folder, and say in it what it is about; does nothing where that is said already.

    Raises:
        StorageError: It cannot be made or written.
        UsageError: It is about something else.
    """
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if (folder / ROOM_FILE).is_file():
        told = place_of(folder)
        if told.resolve() != place.resolve() and told.exists():
            raise UsageError(f"{folder} holds the decisions on {told}; choose another folder with --output")
    content = {"schema_version": _SCHEMA_VERSION, "place": str(place.resolve())}
    _write(folder / ROOM_FILE, content)


def place_of(folder: Path) -> Path:
    """What the decisions of a folder are about.

    Raises:
        UsageError: `review.json` is broken.
    """
    path = folder / ROOM_FILE
    told = _read(path)
    place = told.get("place") if isinstance(told, dict) else None
    if not isinstance(place, str):
        raise UsageError(f"{path} does not say where the studies lie; give their folder, and this one with --output")
    return folder / place


def keep_lexicon(folder: Path, lexicon: Lexicon) -> None:
    """Keep a lexicon in a decisions folder, for the dashboard and the next time.

    Raises:
        StorageError: It cannot be written.
    """
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    content = {
        "findings": {name: dataclasses.asdict(terms) for name, terms in lexicon.findings.items()},
        "sections": list(lexicon.sections),
        "unmentioned": lexicon.unmentioned,
    }
    _write(folder / _LEXICON_FILE, content)


def kept_lexicon(folder: Path) -> Lexicon | None:
    """The lexicon that was kept in a decisions folder; None for none.

    Raises:
        UsageError: It is broken.
    """
    path = folder / _LEXICON_FILE
    if not path.is_file():
        return None
    try:
        told = dict(_read(path))
        is_absent = told["unmentioned"] == LabelValue.ABSENT
        return Lexicon(
            findings=TypeAdapter(dict[str, FindingTerms]).validate_python(told["findings"]),
            sections=tuple(SectionName(name) for name in told["sections"]),
            unmentioned=LabelValue.ABSENT if is_absent else LabelValue.NOT_ASSESSED,
        )
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is no lexicon of medfuse; remove it and give --findings again") from error


def lexicon_of(findings: Sequence[str], told: Lexicon | None) -> Lexicon | None:
    """What to look for in reports: the terms that were told, and for other findings their plain names.

    Args:
        findings: What is decided on.
        told: A lexicon; None for plain names throughout.

    Returns:
        The lexicon; None where there is nothing to look for.
    """
    terms = dict(told.findings) if told else {}
    for name in findings:
        if name not in terms and (plain := _plain_terms(name)):
            terms[name] = plain
    return Lexicon(findings=terms) if terms else None


def _plain_terms(name: str) -> FindingTerms | None:
    """A finding called by its name; None for a name that the notation of phrases does not take."""
    try:
        return FindingTerms(terms={"en": (readable(name),)})
    except ValueError:
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not JSON in UTF-8") from error
