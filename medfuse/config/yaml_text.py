"""YAML text <-> plain mappings, by the core schema of YAML 1.2.

PyYAML follows YAML 1.1, where `no` and `off` are booleans, `1:30` is an integer, `2024-01-01` a date and `1e-4` a
string. Here `true` and `false` are the only booleans and `1e-4` is a number (YAML 1.2.2, section 10.3.2). A key that
stands twice in one mapping is refused (section 3.2.1.1); PyYAML would keep the last one.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from medfuse.errors import ConfigError


class _CoreLoader(yaml.SafeLoader):
    """The safe loader with the scalars of YAML 1.2 and without repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key has to be a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class _CoreDumper(yaml.SafeDumper):
    """The safe dumper, quoting every word that a reader of YAML 1.1 or of 1.2 would take for something else."""


_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
)
_CoreLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _SCALARS:
    for _door in (_CoreLoader, _CoreDumper):
        _door.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def _decimal(loader: _CoreLoader, node: yaml.ScalarNode) -> int:
    """`010` is ten in YAML 1.2; PyYAML reads it as octal."""
    text = loader.construct_scalar(node)
    return int(text, 16) if text.startswith("0x") else int(text)


_CoreLoader.add_constructor("tag:yaml.org,2002:int", _decimal)


def parse_yaml(text: str, where: str) -> Any:
    """The value that `text` holds.

    Args:
        text: One YAML document.
        where: The file or option, for the message.

    Raises:
        ConfigError: The text is no YAML, names a type outside plain data, or repeats a key.
    """
    try:
        loader = _CoreLoader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from error


def dump_yaml(value: Any) -> str:
    """Plain data as YAML text that `parse_yaml` reads back equal, keys in their order."""
    return yaml.dump(value, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=100)


def _explain(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return "a character that YAML does not allow; save it as plain UTF-8 text"
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}{error.problem or error.context or 'not YAML'}"
