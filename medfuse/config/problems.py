"""From pydantic's validation errors to one line that names the key and says what to do."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from medfuse.config.parts import PART_ERROR, PartChoice, closest

Location = tuple[int | str, ...]


def explain(error: ValidationError, schema: type[BaseModel]) -> list[tuple[str, str]]:
    """Each problem of a config as its dotted key and a sentence that begins with the key."""
    problems: list[tuple[str, str]] = []
    for detail in error.errors(include_url=False):
        key = dotted(detail["loc"])
        if detail["type"] == PART_ERROR:
            for below, what, guess in detail["ctx"]["problems"]:
                full = f"{key}.{below}" if below else key
                hint = f"; did you mean {key}.{guess}?" if guess else ""
                problems.append((full, f"{full} {what}{hint}" if below else f"{full}: {what}"))
        else:
            problems.append((key, _sentence(key, detail, schema)))
    return problems


def dotted(location: Location) -> str:
    """`("model", "heads", 0)` as `model.heads.0`."""
    return ".".join(map(str, location))


def annotation_at(schema: type[BaseModel], location: Sequence[int | str]) -> Any:
    """The type that the schema gives to the value at `location`, or None where it says nothing."""
    kind: Any = schema
    for step in location:
        kind = _below(_without_none(kind), step)
    return _without_none(kind)


def _below(kind: Any, step: int | str) -> Any:
    known = _fields(kind)
    if known:
        return known.get(str(step))
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) == 2:
        return arguments[1]
    if origin in (list, tuple, Sequence) and arguments:
        return arguments[0]
    return None


def _fields(kind: Any) -> dict[str, Any]:
    """The keys of a section and their types: of a pydantic model or of a dataclass."""
    if not isinstance(kind, type) or kind is PartChoice:
        return {}
    if issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return {field.name: hints[field.name] for field in fields(kind) if field.init}
    return {}


def _without_none(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _without_none(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        kept = [one for one in get_args(kind) if one is not NoneType]
        return _without_none(kept[0]) if len(kept) == 1 else None
    return kind


def _sentence(key: str, detail: ErrorDetails, schema: type[BaseModel]) -> str:
    if detail["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"{key} is unknown; {_suggestion(detail['loc'], schema)}"
    if detail["type"] in {"missing", "missing_argument", "missing_keyword_only_argument"}:
        return f"{key} is missing; give it in the file or with --set {key}=..."
    message = detail["msg"].removeprefix("Value error, ")
    if not key:
        return message
    found = json.dumps(detail["input"], default=str)
    shown = found if len(found) <= 60 else f"{found[:57]}..."
    return f"{key} is {shown}: {message[:1].lower()}{message[1:]}"


def _suggestion(location: Location, schema: type[BaseModel]) -> str:
    *above, last = location
    known = list(_fields(annotation_at(schema, above)))
    guess = closest(str(last), known)
    if guess:
        return f"did you mean {dotted((*above, guess))}?"
    section = f"{dotted(tuple(above))} takes" if above else "known keys:"
    return f"{section} {', '.join(known)}"
