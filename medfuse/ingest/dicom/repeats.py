"""Headers that repeat their neighbour's: most elements of the slices of a series are the same bytes.

Stretches of elements that two headers have in common are remembered with where their elements start. Where the next
header holds the same bytes at the place that the walk has come to, the stretch is stepped over at once: equal bytes
are equal elements, wherever they lie. Everything else is walked as ever, so the answer does not depend on what is
remembered, only the time does. What is remembered stays in memory and is replaced by the next series.
"""

import struct
from itertools import pairwise
from typing import Any, NamedTuple

_LEAST_ELEMENTS = 3
_UNDEFINED = 0xFFFFFFFF
_PIXEL_GROUP = b"\xe0\x7f"
_explicit_element = struct.Struct("<4s2sH").unpack_from
_implicit_element = struct.Struct("<4sL").unpack_from


class Stretch(NamedTuple):
    """Bytes that headers share: their first tag, and where they began in the header that they were learnt from."""

    tag: bytes
    raw: bytes
    at: int


class Shared:
    """What headers have in common.

    Args:
        stretches: Bytes, in order.
        places: Tag -> number of its stretch, and where its element began in the header that it was learnt from.
    """

    __slots__ = ("places", "stretches", "values")

    def __init__(self, stretches: tuple[Stretch, ...], places: dict[bytes, tuple[int, int]]) -> None:
        self.stretches = stretches
        self.places = places
        self.values: dict[Any, Any] = {}
        """What elements of the stretches were decoded to."""


NOTHING = Shared((), {})
"""What the first header of all has in common with others."""


class Repeats:
    """What the headers of one encoding had in common lately.

    Args:
        explicit: Whether elements name their value representation.
        short: Value representations with a length of two bytes.
    """

    def __init__(self, *, explicit: bool, short: frozenset[bytes]) -> None:
        self.shared = NOTHING
        self._explicit = explicit
        self._short = short
        self._last: tuple[bytes, list[tuple[bytes, int]]] | None = None
        self._patience = 0
        self._wait = 0

    def follow(self, data: bytes, at: int, spans: dict[bytes, int]) -> tuple[int, list[int]]:
        """Step over what is known.

        Args:
            data: The first bytes of a file.
            at: Where its dataset begins.
            spans: Takes the tags of what lies between the stretches, and where they start.

        Returns:
            Where to go on walking; and for each stretch that was found, in order, how much further back it lies.
        """
        shifts: list[int] = []
        step = self._step_explicit if self._explicit else self._step_implicit
        for tag, raw, learnt_at in self.shared.stretches:
            if not data.startswith(tag, at):
                at = step(data, at, tag, spans)
            if not data.startswith(raw, at):
                break
            shifts.append(at - learnt_at)
            at += len(raw)
        return at, shifts

    def learn(self, data: bytes, spans: dict[bytes, int], end: int) -> None:
        """Take notice of a header that was not all known.

        Args:
            data: The first bytes of its file.
            spans: All of its elements, in order.
            end: Where the last of them ends.
        """
        if self._wait > 0:
            self._wait -= 1
            return
        elements = [*spans.items(), (b"", end)]
        if end > len(data) or any(first[1] >= second[1] for first, second in pairwise(elements)):
            return
        if self._last is not None:
            self.shared = _common(*self._last, data, elements)
            # Where neighbours have little in common, looking for it is given up for longer and longer.
            self._patience = 0 if self.shared.stretches else min(2 * self._patience + 1, 1000)
            self._wait = self._patience
        self._last = (data, elements)

    def _step_explicit(self, data: bytes, at: int, until: bytes, spans: dict[bytes, int]) -> int:
        """Step over simple elements until one has the tag `until`, or is not simple, or would hide a shared one."""
        short, places, last = self._short, self.shared.places, len(data) - 12
        while at <= last:
            tag, vr, length = _explicit_element(data, at)
            if tag == until or vr not in short or tag in places:
                break
            spans[tag] = at
            at += 8 + length
        return at

    def _step_implicit(self, data: bytes, at: int, until: bytes, spans: dict[bytes, int]) -> int:
        """As `_step_explicit`, for elements that do not name their value representation."""
        places, last = self.shared.places, len(data) - 12
        while at <= last:
            tag, length = _implicit_element(data, at)
            if tag == until or length == _UNDEFINED or tag in places or tag[:2] == _PIXEL_GROUP:
                break
            spans[tag] = at
            at += 8 + length
        return at


def _common(
    other: bytes, other_elements: list[tuple[bytes, int]], data: bytes, elements: list[tuple[bytes, int]]
) -> Shared:
    """Stretches of elements that two headers have in common, in order."""
    stretches: list[Stretch] = []
    places: dict[bytes, tuple[int, int]] = {}

    def add(run: list[tuple[bytes, int]], end: int) -> None:
        if len(run) >= _LEAST_ELEMENTS:
            tag, at = run[0]
            places.update({tag: (len(stretches), start) for tag, start in run})
            stretches.append(Stretch(tag, data[at:end], at))

    run: list[tuple[bytes, int]] = []
    pairs = zip(pairwise(other_elements), pairwise(elements), strict=False)
    for ((other_tag, other_start), (_, other_end)), ((tag, start), (_, end)) in pairs:
        if tag != other_tag:
            break
        if other[other_start:other_end] == data[start:end]:
            run.append((tag, start))
        else:
            add(run, start)
            run = []
    else:
        add(run, elements[-1][1])
    return Shared(tuple(stretches), places)
