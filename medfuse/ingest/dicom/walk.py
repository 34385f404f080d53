"""Where the elements of a plain DICOM file are: a walk over its bytes that decodes nothing.

Every element is stepped over by its length; a sequence of undefined length by its items. A file that leaves the plain
road (`NotPlainError`) is for pydicom. Each length is checked against the size of the file before it is believed.

Sources: DICOM PS3.5 section 7 (data elements, sequences); PS3.10 section 7.1 (file meta information).
"""

import os
import struct
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.repeats import NOTHING, Repeats, Shared

HEAD_BYTES = 8192
"""What is read of every file at first; most headers end before that."""

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

_ENCAPSULATED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")
_LARGEST_WINDOW = 2**18
_MOST_HEADER_BYTES = 2**25
_DEEPEST_SEQUENCE = 64
_UNDEFINED = 0xFFFFFFFF
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OW OF OD OL OV SQ UN UC UR UT SV UV".split())
_PIXELS = frozenset({b"\xe0\x7f\x08\x00", b"\xe0\x7f\x09\x00", b"\xe0\x7f\x10\x00"})
_ITEM, _ITEM_END, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"
_ODD_TAGS = frozenset({*_PIXELS, _ITEM, _ITEM_END, _SEQUENCE_END})
_META = b"\x02\x00"
FOR_PYDICOM = b"??"
"""Given for the value representation of what only pydicom should decode."""
_explicit_element = struct.Struct("<4s2sH").unpack_from
_implicit_element = struct.Struct("<4sL").unpack_from
_long_length = struct.Struct("<L").unpack_from
_REPEATS = {explicit: Repeats(explicit=explicit, short=_SHORT) for explicit in (True, False)}


class NotPlainError(Exception):
    """The file is for pydicom to read; never leaves this package."""


class Layout(NamedTuple):
    """Where the elements of a file are.

    Args:
        syntax: Transfer syntax UID.
        explicit: Whether elements name their value representation.
        spans: Tag as four little-endian bytes -> where the element starts, except those in `shared`.
        meta: The same for group 0002, which is always explicit.
        pixels: Tag, byte offset and length (None when undefined) of the pixel data; None without any.
        shared: Elements that are the same in other headers.
        shifts: How much further back each stretch of `shared` lies; those without one are not in this header.
    """

    syntax: str
    explicit: bool
    spans: dict[bytes, int]
    meta: dict[bytes, int]
    pixels: tuple[bytes, int, int | None] | None
    shared: Shared = NOTHING
    shifts: Sequence[int] = ()

    def all_spans(self) -> dict[bytes, int]:
        """Every tag and where its element starts, in the order of the file."""
        return _all_spans(self.spans, self.shared, self.shifts)


class FileBytes:
    """The bytes of a file, read in windows: the first when it is opened, others where the walk gets to.

    Args:
        path: The file.
        size: Its size in bytes.
        head: Its first bytes, at least `HEAD_BYTES` of them or all.
    """

    __slots__ = ("_read", "head", "path", "size", "windows")

    def __init__(self, path: Path, size: int, head: bytes) -> None:
        self.path = path
        self.size = size
        self.head = head
        self.windows: list[tuple[int, bytes]] = []
        self._read = 0

    def at(self, position: int) -> tuple[bytes, int, int]:
        """A window that holds `position`, its base, and the last index in it at which an element may start.

        Raises:
            UnreadableFileError: `position` is behind the end of the file, or the header does not end.
        """
        if position > self.size:
            raise UnreadableFileError("ends in the middle of its header", reason="TRUNCATED_FILE")
        if self._read > _MOST_HEADER_BYTES:
            raise UnreadableFileError(f"has a header of more than {_MOST_HEADER_BYTES >> 20} MiB")
        last = last_start(self.head, 0, self.size)
        if position <= last:
            return self.head, 0, last
        data = read_at(self.path, min(HEAD_BYTES << len(self.windows), _LARGEST_WINDOW), position)
        self._read += len(data)
        last = last_start(data, position, self.size)
        if last < 0:
            raise UnreadableFileError("ends in the middle of its header", reason="TRUNCATED_FILE")
        self.windows.append((position, data))
        return data, position, last

    def value(self, start: int, *, explicit: bool) -> tuple[bytes, bytes]:
        """The value representation (empty in implicit files) and the value of the element at `start`."""
        data, base = self._window(start)
        at = start - base
        vr = b""
        if explicit:
            _, vr, length = _explicit_element(data, at)
            at += 8
            if vr in _LONG:
                (length,) = _long_length(data, at)
                at += 4
        else:
            _, length = _implicit_element(data, at)
            at += 8
        if vr == b"SQ" or length == _UNDEFINED:
            return FOR_PYDICOM, b""
        if at + length <= len(data):
            return vr, data[at : at + length]
        return vr, read_at(self.path, min(length, self.size), base + at)

    def _window(self, start: int) -> tuple[bytes, int]:
        if start + 12 <= len(self.head) or not self.windows:
            return self.head, 0
        for base, data in self.windows:
            if base <= start <= base + len(data) - 8:
                return data, base
        return self.head, 0


def read_at(path: Path, count: int, position: int) -> bytes:
    """Read up to `count` bytes of a file from `position` on."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        if position:
            os.lseek(descriptor, position, os.SEEK_SET)
        return os.read(descriptor, count)
    finally:
        os.close(descriptor)


def last_start(data: bytes, base: int, size: int) -> int:
    """The last index in a window at which an element's head lies whole: 12 bytes, or 8 at the end of the file."""
    return len(data) - (8 if base + len(data) >= size else 12)


def walk(source: FileBytes) -> Layout:
    """Walk over the header of a plain file.

    Raises:
        NotPlainError: pydicom has to read it.
        UnreadableFileError: `TRUNCATED_FILE`: an element reaches beyond the end of the file.
    """
    if source.head[128:132] != b"DICM":
        raise NotPlainError
    meta, start = _walk_meta(source.head)
    syntax_at = meta.get(b"\x02\x00\x10\x00")
    raw = b"" if syntax_at is None else source.value(syntax_at, explicit=True)[1]
    syntax = raw.rstrip(b"\0 ").decode("latin-1")
    explicit = syntax != IMPLICIT_LITTLE_ENDIAN
    if explicit and syntax != EXPLICIT_LITTLE_ENDIAN and not syntax.startswith(_ENCAPSULATED):
        raise NotPlainError
    return _walk_dataset(source, start, Layout(syntax, explicit, {}, meta, None))


def dataset_start(head: bytes) -> int:
    """Where the dataset begins behind the file meta information.

    Raises:
        NotPlainError: The meta header is not as PS3.10 has it.
    """
    return _walk_meta(head)[1]


def _walk_meta(head: bytes) -> tuple[dict[bytes, int], int]:
    meta: dict[bytes, int] = {}
    at, last = 132, len(head) - 12
    while at <= last:
        tag, vr, length = _explicit_element(head, at)
        if tag[:2] != _META:
            if tag[:2] == b"\0\0":
                raise NotPlainError
            return meta, at
        meta[tag] = at
        if vr in _SHORT:
            at += 8 + length
        elif vr in _LONG:
            at += 12 + int(_long_length(head, at + 8)[0])
        else:
            raise NotPlainError
    raise NotPlainError


def _walk_dataset(source: FileBytes, start: int, layout: Layout) -> Layout:
    """Add the elements from `start` to the pixel data."""
    explicit, spans = layout.explicit, layout.spans
    step = _step_explicit if explicit else _step_implicit
    data, base, size = source.head, 0, source.size
    if not explicit and data[start + 4 : start + 6].isalpha() and data[start + 4 : start + 6].isupper():
        raise NotPlainError
    repeats = _REPEATS[explicit]
    shared = repeats.shared
    position, shifts = repeats.follow(data, start, spans)
    last, found = last_start(data, 0, size), None
    while found is None and position + 8 <= size:
        position, found = step(source, data, base, position - base, last, spans)
        if found is None and not base <= position <= base + last and (position + 8 <= size or position > size):
            data, base, last = source.at(position)
    if not spans.keys().isdisjoint(_ODD_TAGS):
        raise NotPlainError
    if found is None:
        return layout._replace(shared=shared, shifts=shifts)
    if len(shifts) < max(1, len(shared.stretches)):
        repeats.learn(source.head, _all_spans(spans, shared, shifts), position - (12 if explicit else 8))
    tag, length = found
    pixels = (tag, position, None if length == _UNDEFINED else length)
    return Layout(layout.syntax, explicit, spans, layout.meta, pixels, shared, shifts)


def _all_spans(spans: dict[bytes, int], shared: Shared, shifts: Sequence[int]) -> dict[bytes, int]:
    found = {tag: start + shifts[n] for tag, (n, start) in shared.places.items() if n < len(shifts)}
    return dict(sorted({**found, **spans}.items(), key=itemgetter(1)))


def _step_explicit(
    source: FileBytes, data: bytes, base: int, at: int, last: int, spans: dict[bytes, int]
) -> tuple[int, tuple[bytes, int] | None]:
    """Step through one window; gives where it ended, and the pixel data if it got there."""
    short, long = _SHORT, _LONG
    while at <= last:
        tag, vr, length = _explicit_element(data, at)
        if vr in short:
            spans[tag] = base + at
            at += 8 + length
            continue
        if vr not in long:
            raise NotPlainError
        if at + 12 > len(data):
            raise UnreadableFileError("ends in the middle of its header", reason="TRUNCATED_FILE")
        (length,) = _long_length(data, at + 8)
        if tag in _PIXELS:
            return base + at + 12, (tag, length)
        spans[tag] = base + at
        if length != _UNDEFINED:
            at += 12 + length
        elif vr == b"SQ" and tag[:2] != b"\x00\x52":
            return _skip_sequence(source, base + at + 12, explicit=True), None
        else:
            raise NotPlainError
    return base + at, None


def _step_implicit(
    source: FileBytes, data: bytes, base: int, at: int, last: int, spans: dict[bytes, int]
) -> tuple[int, tuple[bytes, int] | None]:
    """As `_step_explicit`, for elements that do not name their value representation."""
    while at <= last:
        tag, length = _implicit_element(data, at)
        if tag in _PIXELS:
            return base + at + 8, (tag, length)
        spans[tag] = base + at
        if length != _UNDEFINED:
            at += 8 + length
        elif tag[:2] != b"\x00\x52":
            return _skip_sequence(source, base + at + 8, explicit=False), None
        else:
            raise NotPlainError
    return base + at, None


def _skip_sequence(source: FileBytes, position: int, *, explicit: bool) -> int:
    """Where a sequence of undefined length ends; what it holds is not looked at."""
    inside_item = [False]
    data, base = source.head, 0
    last = last_start(data, 0, source.size)
    while inside_item:
        if not base <= position <= base + last:
            data, base, last = source.at(position)
        tag, length = _implicit_element(data, position - base)
        if not inside_item[-1]:
            if tag == _SEQUENCE_END:
                inside_item.pop()
                position += 8
            elif tag != _ITEM:
                raise NotPlainError
            elif length == _UNDEFINED:
                inside_item.append(True)
                position += 8
            else:
                position += 8 + length
        elif tag == _ITEM_END:
            inside_item.pop()
            position += 8
        else:
            head, length = _item_element(data, position - base) if explicit else (8, length)
            if length == _UNDEFINED:
                inside_item.append(False)
                length = 0
            position += head + length
        if len(inside_item) > _DEEPEST_SEQUENCE:
            raise UnreadableFileError(f"nests sequences more than {_DEEPEST_SEQUENCE // 2} deep")
    return position


def _item_element(data: bytes, at: int) -> tuple[int, int]:
    """Bytes of the head of an explicit element, and the length of its value."""
    _, vr, length = _explicit_element(data, at)
    if vr in _SHORT:
        return 8, length
    if vr not in _LONG or at + 12 > len(data):
        raise NotPlainError
    (length,) = _long_length(data, at + 8)
    if length == _UNDEFINED and vr != b"SQ":
        raise NotPlainError
    return 12, length
