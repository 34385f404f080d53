"""YAML in which every value says why it is what it is."""

import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medfuse.config.yaml_text import parse_yaml

WIDTH = 118


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A value and why it is that one.

    Args:
        value: Plain data.
        why: One sentence or two, without line breaks.
        itemised: Write a list one item a line.
    """

    value: Any
    why: str
    itemised: bool = False


Tree = Mapping[str, "Noted | Tree"]


def values(tree: Tree) -> dict[str, Any]:
    """The tree without its reasons."""
    return {key: node.value if isinstance(node, Noted) else values(node) for key, node in tree.items()}


def as_yaml(tree: Tree) -> str:
    """The tree as YAML, each reason as a comment above its key."""
    return "\n".join(_lines(tree, 0)) + "\n"


def comment(text: str, indent: int = 0, mark: str = "") -> list[str]:
    """`text` as lines of a comment; a letter that cannot be printed, which YAML may refuse, is a question mark."""
    told = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    lead = " " * indent + "# "
    return textwrap.wrap(
        told,
        WIDTH,
        initial_indent=lead + mark,
        subsequent_indent=lead + " " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _lines(tree: Tree, indent: int) -> list[str]:
    lines: list[str] = []
    for key, node in tree.items():
        lead = " " * indent
        if not isinstance(node, Noted):
            lines += ["", f"{lead}{_flow(key)}:"] if not indent else [f"{lead}{_flow(key)}:"]
            lines += _lines(node, indent + 2)
            continue
        lines += comment(node.why, indent)
        if node.itemised and node.value:
            lines.append(f"{lead}{_flow(key)}:")
            lines += [f"{lead}  - {_flow(item)}" for item in node.value]
        else:
            lines.append(f"{lead}{_flow(key)}: {_flow(node.value)}")
    return lines


def _flow(value: Any) -> str:
    """Plain data in YAML's flow style; words stand plain where they read back as themselves."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_ ]*[A-Za-z0-9_]|[A-Za-z]", value):
        return value if parse_yaml(value, "") == value and value.lower() not in _WORDS_OF_OLD else _quoted(value)
    return _quoted(value)


def _quoted(value: Any) -> str:
    """A single value as JSON, which YAML reads too, with what cannot be printed escaped as YAML does it."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)


_WORDS_OF_OLD = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""What readers of YAML 1.1 take for something else."""
