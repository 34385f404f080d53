"""Name -> constructor, one registry a kind of part; the config schema is read from the constructor's signature.

    FUSIONS = Registry("fusion")

    @FUSIONS.register("concat")
    class Concatenation(nn.Module):
        def __init__(self, widths: Mapping[str, int], /, *, dropout: float = 0.1) -> None: ...

Positional-only arguments are wired by `model/assemble.py`; keyword-only ones are what a config may set.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, get_type_hints

from medfuse.errors import ConfigError

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """Parts of one kind, by name.

    Args:
        kind: The word that a config uses for this kind of part, e.g. `fusion`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._parts: dict[str, Callable[..., Part]] = {}

    def register(self, name: str) -> Callable[[Callable[..., Part]], Callable[..., Part]]:
        """Return a decorator that adds a constructor under `name`.

        Raises:
            ValueError: The name is taken.
        """

        def add(constructor: Callable[..., Part]) -> Callable[..., Part]:
            if name in self._parts:
                raise ValueError(f"{self.kind} {name!r} is already registered")
            self._parts[name] = constructor
            return constructor

        return add

    def names(self) -> tuple[str, ...]:
        """The registered names, sorted."""
        return tuple(sorted(self._parts))

    def get(self, name: str) -> Callable[..., Part]:
        """The constructor under `name`.

        Raises:
            ConfigError: The name is unknown; the message lists the known ones.
        """
        if name not in self._parts:
            raise ConfigError(f"unknown {self.kind} {name!r}; known: {', '.join(self.names())}")
        return self._parts[name]

    def options(self, name: str) -> dict[str, tuple[Any, Any]]:
        """The keyword-only arguments of a part: name -> (type, default or `inspect.Parameter.empty`)."""
        constructor = self.get(name)
        initialiser = constructor.__init__ if inspect.isclass(constructor) else constructor
        hints = get_type_hints(initialiser)
        parameters = inspect.signature(initialiser).parameters.values()
        return {
            p.name: (hints.get(p.name, Any), p.default) for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def build(self, name: str, *wired: Any, options: Mapping[str, Any] | None = None) -> Part:
        """Construct the part `name` from its wired arguments and its config options.

        Lists become tuples, so that options that have been through JSON are what they were.

        Raises:
            ConfigError: The name or an option is unknown.
        """
        options = dict(options or {})
        known = self.options(name)
        unknown = sorted(set(options) - set(known))
        if unknown:
            takes = ", ".join(known) or "no options"
            raise ConfigError(f"{self.kind} {name!r} does not know {', '.join(unknown)}; it takes {takes}")
        return self.get(name)(*wired, **{key: _as_tuples(value) for key, value in options.items()})


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(each) for each in value) if isinstance(value, list | tuple) else value
