"""A part chosen by a config: its name, and options checked against the constructor that the registry holds.

    class ModelSettings(Settings):
        fusion: Annotated[PartChoice, part_model(FUSIONS)] = PartChoice(name="cross_attention")

takes `fusion: concat`, or `fusion: {name: concat, dropout: 0.2}`. The options that are left out get the constructor's
defaults, so that the resolved config says everything. The registry is read when a config is checked, not when the
schema is written, so parts of plugins count.
"""

import difflib
import inspect
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError, model_serializer
from pydantic_core import PydanticCustomError

from medfuse.registry import Registry

PART_ERROR = "part"
"""The type of a part's validation error; its context holds `problems`: key below the part, fault, guess."""

_Problem = tuple[str, str, str | None]


class PartChoice(BaseModel):
    """The name of a part and its options.

    Args:
        name: A name in the registry.
        options: Keyword-only arguments of the part's constructor, all of them after validation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any] = {}

    @model_serializer
    def flat(self) -> dict[str, Any]:
        """The form that a config file holds: the options beside the name."""
        return {"name": self.name, **self.options}


def part_model(registry: Registry[Any]) -> BeforeValidator:
    """The check that makes a `PartChoice` field accept the parts of `registry` and their options."""
    return BeforeValidator(lambda value: _choice(registry, value))


def closest(word: str, known: tuple[str, ...] | list[str]) -> str | None:
    """The known word that `word` most likely means, if one is near."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else None


def _choice(registry: Registry[Any], value: object) -> PartChoice:
    name, options = _name_and_options(value)
    if name not in registry.names():
        guess = closest(name, registry.names())
        hint = f"did you mean {guess}?" if guess else f"known: {', '.join(registry.names()) or 'none'}"
        raise _error([("", f"unknown {registry.kind} {name!r}; {hint}", None)])
    known = registry.options(name)
    problems = [_unknown_option(key, list(known)) for key in options if key not in known]
    checked: dict[str, Any] = {}
    for key, (kind, default) in known.items():
        if key in options:
            try:
                checked[key] = _checked(kind, options[key])
            except ValidationError as error:
                problems += [(_join(key, detail["loc"]), _explain(detail), None) for detail in error.errors()]
        elif default is inspect.Parameter.empty:
            problems.append((key, "is missing", None))
        else:
            checked[key] = default
    if problems:
        raise _error(problems)
    return PartChoice(name=name, options=checked)


def _name_and_options(value: object) -> tuple[str, dict[str, Any]]:
    if isinstance(value, PartChoice):
        return value.name, dict(value.options)
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return value["name"], {str(key): option for key, option in value.items() if key != "name"}
    raise _error([("name", "is missing; write the part's name, or {name: ..., <options>}", None)])


def _checked(kind: Any, value: object) -> Any:
    """`value` as the constructor's annotation asks, strictly; JSON mode lets a list be a tuple."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
    plain = json.dumps(value, default=_plain)
    return adapter.validate_json(plain, strict=True)


def _plain(value: object) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def _unknown_option(key: str, known: list[str]) -> _Problem:
    guess = closest(key, [*known, "name"])
    return key, "is unknown" if guess else f"is unknown; it takes {', '.join(known) or 'no options'}", guess


def _explain(detail: Any) -> str:
    return f"is {json.dumps(detail['input'], default=str)[:60]}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"


def _join(key: str, location: tuple[int | str, ...]) -> str:
    return ".".join([key, *map(str, location)])


def _error(problems: list[_Problem]) -> PydanticCustomError:
    return PydanticCustomError(PART_ERROR, "the part cannot be built", {"problems": problems})
