"""One YAML file, its base and the `--set` options -> one checked config.

    config = load_config(Path("configs/train/hippocampus.yaml"), ["training.epochs=3"], TrainConfig)

`base: other.yaml` names one file, relative to this one, whose values hold where this file says nothing; sections are
merged key by key, lists and single values replaced. Where a file or an option changes the `name` of a part, the
options of the former part go with it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from medfuse.bundled import find_config
from medfuse.config.parts import PartChoice
from medfuse.config.problems import annotation_at, explain
from medfuse.config.yaml_text import dump_yaml, parse_yaml
from medfuse.errors import ConfigError, UsageError

Schema = TypeVar("Schema", bound=BaseModel)
Tree = dict[str, Any]


def load_config(path: Path, overrides: Sequence[str], schema: type[Schema]) -> Schema:
    """Read, merge and check a config.

    Args:
        path: A YAML file; a relative path that does not exist is looked up among the configs that ship with medfuse.
        overrides: What follows each `--set`: `dotted.key=value`, the value read as YAML. The last one wins.
        schema: The model that the whole config has to fit.

    Raises:
        ConfigError: The file or its base cannot be read, a key is unknown, missing or of the wrong kind.
    """
    tree = read_tree(path, schema)
    for override in overrides:
        _apply(override, tree, schema)
    return check(tree, schema, where=str(path), overrides=overrides)


def check(tree: Mapping[str, Any], schema: type[Schema], *, where: str, overrides: Sequence[str] = ()) -> Schema:
    """`tree` as an instance of `schema`.

    Args:
        tree: Plain data, as read from YAML or JSON.
        schema: The model to fit.
        where: The file that the data came from, for the message.
        overrides: The `--set` options that are part of `tree`, for the message.

    Raises:
        ConfigError: The first problem, and how many more there are.
        UsageError: What a section says of itself, e.g. `LabelLeakageError`.
    """
    try:
        return schema.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        problems = explain(error, schema)
    except UsageError as error:  # a section that checks itself; its message names the key
        said = str(error)
        source = next((f"--set {given}" for given in reversed(overrides) if given.partition("=")[0] in said), where)
        raise type(error)(f"{source}: {said}") from error
    key, sentence = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    source = next((f"--set {given}" for given in reversed(overrides) if _touches(given, key)), where)
    raise ConfigError(f"{source}: {sentence}{more}")


def read_tree(path: Path, schema: type[BaseModel]) -> Tree:
    """The mapping that a config file holds, merged over its bases and not yet checked against `schema`.

    Raises:
        ConfigError: A file is missing, is no mapping, or the bases form a ring.
    """
    return _read(find_config(path), schema, ())


def resolved_yaml(config: BaseModel) -> str:
    """The whole config as YAML, defaults included; `load_config` reads it back to an equal config."""
    return dump_yaml(config.model_dump(mode="json"))


def config_sha256(config: BaseModel) -> str:
    """The SHA-256 of the resolved config, independent of the order of keys and of how the file was written."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _read(path: Path, schema: type[BaseModel], above: tuple[Path, ...]) -> Tree:
    place = path.resolve()
    if place in above:
        ring = " -> ".join(each.name for each in (*above, place))
        raise ConfigError(f"{path}: base leads back to itself: {ring}")
    tree = parse_yaml(_text_of(path), str(path))
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a config is a mapping of keys to values, found {_kind_of(tree)}")
    base = tree.pop("base", None)
    if base is None:
        return tree
    if not isinstance(base, str) or Path(base).is_absolute():
        raise ConfigError(f"{path}: base is {base!r}; expected one path relative to this file")
    return _merged(_read(path.parent / base, schema, (*above, place)), tree, schema, ())


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; give the path of a YAML config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not text in UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of a YAML config") from error


def _merged(base: Tree, over: Tree, schema: type[BaseModel], place: tuple[str, ...]) -> Tree:
    """`over` laid on `base`, section by section."""
    merged = dict(base)
    for key, value in over.items():
        here = (*place, str(key))
        former = merged.get(key)
        if isinstance(former, dict) and isinstance(value, dict) and not _other_part(former, value, schema, here):
            merged[key] = _merged(former, value, schema, here)
        else:
            merged[key] = value
    return merged


def _other_part(former: Tree, value: Tree, schema: type[BaseModel], place: tuple[str, ...]) -> bool:
    """Whether `value` names another part than `former` at a place that holds a part."""
    return _is_part(schema, place) and value.get("name", former.get("name")) != former.get("name")


def _is_part(schema: type[BaseModel], place: Sequence[str]) -> bool:
    return annotation_at(schema, place) is PartChoice


def _apply(override: str, tree: Tree, schema: type[BaseModel]) -> None:
    """Set one `dotted.key=value` in `tree`."""
    key, equals, text = override.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        raise ConfigError(f"--set {override}: expected key=value with a dotted key, e.g. --set training.epochs=3")
    value = parse_yaml(text, f"--set {override}")
    *above, last = steps
    section: Any = tree
    for depth, step in enumerate(above):
        section = _enter(section, step, override, part=_is_part(schema, above[: depth + 1]))
    if last == "name" and _is_part(schema, above) and section.get("name") != value:
        section.clear()
    if isinstance(section, list):
        section[_position(section, last, override)] = value
    else:
        section[last] = value


def _enter(section: Any, step: str, override: str, *, part: bool) -> Any:
    """The section at `step`, made where there is none; the bare name of a part becomes a section."""
    at: Any = _position(section, step, override) if isinstance(section, list) else step
    inner = section[at] if isinstance(section, list) else section.get(at)
    if inner is None:
        inner = {}
    elif part and isinstance(inner, str):
        inner = {"name": inner}
    elif not isinstance(inner, dict | list):
        raise ConfigError(f"--set {override}: {step} holds a single value, nothing can be set inside it")
    section[at] = inner
    return inner


def _position(section: list[Any], step: str, override: str) -> int:
    if not step.isdecimal() or int(step) >= len(section):
        raise ConfigError(f"--set {override}: {step} is no position in a list of {len(section)}, counted from 0")
    return int(step)


def _touches(override: str, key: str) -> bool:
    """Whether `override` sets `key`, something above it or something below it."""
    given = override.partition("=")[0].strip()
    return given == key or key.startswith(f"{given}.") or given.startswith(f"{key}.")


def _kind_of(value: object) -> str:
    names = {"NoneType": "an empty file", "list": "a list", "str": "a word"}
    return names.get(type(value).__name__, type(value).__name__)
