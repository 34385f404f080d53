"""Markdown (CommonMark 0.31) of words that are data: they become neither markup nor HTML."""

import html
import re

from medfuse.evaluation.report import RESEARCH_USE
from medfuse.reporting.artifacts import RunArtifacts
from medfuse.reporting.compose import stamps, warnings_of
from medfuse.reporting.page import shown

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~!])")


def escape(text: str) -> str:
    """Text on one line that reads as it stands."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def code(text: str) -> str:
    """Text as a code span on one line; back quotes, which would end it, become apostrophes."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def header(title: str, run: RunArtifacts) -> list[str]:
    """Title, statement on use, warnings, and what identifies the model and the data."""
    lines = [f"# {escape(title)}", "", f"> {RESEARCH_USE}", ""]
    for warning in warnings_of(run):
        lines += [f"> **{escape(warning)}**", ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {name} | {escape(shown(value))} |" for name, value in stamps(run).items()]
    return [*lines, ""]
