"""The cues of every language. A new language is one more module like `cues_german.py`, and a line here."""

from medfuse.ingest.reports.cues import ENGLISH, Cue
from medfuse.ingest.reports.cues_chinese import CHINESE
from medfuse.ingest.reports.cues_french import FRENCH
from medfuse.ingest.reports.cues_german import GERMAN
from medfuse.ingest.reports.cues_spanish import SPANISH

CUES: dict[str, dict[Cue, tuple[str, ...]]] = {
    "en": ENGLISH,
    "de": GERMAN,
    "fr": FRENCH,
    "es": SPANISH,
    "zh": CHINESE,
}
"""Language -> kind of cue -> phrases."""
