"""The reporting standards by the name that the command line knows them by."""

from collections.abc import Callable, Mapping

from medfuse.errors import UsageError
from medfuse.reporting.artifacts import RunArtifacts
from medfuse.reporting.checklist import render_checklist
from medfuse.reporting.claim import CLAIM
from medfuse.reporting.model_card import render_model_card
from medfuse.reporting.tripod_ai import TRIPOD_AI

STANDARDS: Mapping[str, Callable[[RunArtifacts], str]] = {
    "claim": lambda run: render_checklist(CLAIM, run),
    "tripod-ai": lambda run: render_checklist(TRIPOD_AI, run),
    "model-card": render_model_card,
}
"""Name -> what writes it as Markdown."""


def render_standard(name: str, run: RunArtifacts) -> str:
    """A standard filled in as far as a run supports it.

    Raises:
        UsageError: There is no standard of that name.
    """
    if name not in STANDARDS:
        raise UsageError(f"unknown standard {name!r}; expected one of {', '.join(STANDARDS)}")
    return STANDARDS[name](run)
