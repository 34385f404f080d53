"""Headers of plain DICOM files by a walk over their bytes; whatever is unusual is pydicom's.

pydicom builds an object for every element, which takes ten times as long as reading the file. Most files of a series
are plain: little endian, with a preamble, known value representations, sequences that nobody asks for. `walk` steps
over their elements, and a value is decoded here when it is asked for, with the types that pydicom gives. A file, or a
value, that is not plain is read with pydicom instead; a property test holds that both give the same answer.

Looked at before writing this: pydicom's `specific_tags` and `defer_size` (twice as fast as a whole header), gdcm's
scanner (four times), and pydicom on the first 8 KiB of a file alone (twice).

Source: DICOM PS3.5 section 6.2 (value representations).
"""

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from medfuse.ingest.dicom.walk import FOR_PYDICOM, FileBytes, Layout

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


Key = str | int | tuple[int, str, int]
"""An element: its keyword, its number, or a private one's group, creator and last digits."""


class Header(Protocol):
    """The elements of a file by keyword; pydicom's `Dataset` is one, and so is `PlainHeader`.

    By a number, pydicom's gives an element and not its value.
    """

    def get(self, key: str | int, default: Any = None, /) -> Any:
        """The value of an element, typed as pydicom types it, or `default` where there is none."""

    def __contains__(self, key: str | int, /) -> bool:
        """Whether the element is there, empty or not."""


class PlainHeader:
    """The header of a plain file: where its elements are, decoded when asked for.

    Args:
        source: The bytes of the file.
        layout: Where its elements are.
    """

    __slots__ = (
        "_creators",
        "_explicit",
        "_memo",
        "_places",
        "_shared_values",
        "_shifts",
        "_spans",
        "_whole",
        "layout",
        "source",
        "values",
    )

    def __init__(self, source: FileBytes, layout: Layout) -> None:
        self.source = source
        self.layout = layout
        self.values: dict[Key, Any] = {}
        _, self._explicit, self._spans, _, _, shared, self._shifts = layout
        self._places = shared.places
        # Text depends on the character set, and numbers of implicit files on the pixels' sign: both have to be shared.
        settled = _CHARACTER_SET not in self._spans and _PIXEL_REPRESENTATION not in self._spans
        self._shared_values = shared.values if settled else None
        self._memo: dict[tuple[bytes, bytes], Any] | None = None
        self._whole: Dataset | None = None
        self._creators: dict[tuple[int, str], int] | None = None

    def get(self, key: str | int, default: Any = None, /) -> Any:
        """The value of an element by keyword, typed as pydicom types it, or `default` where there is none.

        By its number (0xggggeeee), an element is decoded where it names its value representation; else it is bytes.
        Several values come as a tuple.
        """
        values = self.values
        if key in values:
            return values[key]
        tag, vr = _KNOWN.get(key) or _look_up(key)
        start = self._spans.get(tag)
        if start is not None:
            value = values[key] = self._decoded(key, vr, start)
            return value
        place = self._places.get(tag)
        if place is None or place[0] >= len(self._shifts):
            return default
        shared = self._shared_values
        if shared is not None and key in shared:
            value = values[key] = shared[key]
            return value
        value = values[key] = self._decoded(key, vr, place[1] + self._shifts[place[0]])
        if shared is not None and isinstance(value, (str, int, float, tuple, type(None))):
            shared[key] = value
        return value

    def __contains__(self, key: str | int, /) -> bool:
        return self._start((_KNOWN.get(key) or _look_up(key))[0]) is not None

    def meta_uid(self, element: int) -> str:
        """A UID of the file meta information (group 0002); empty where it is absent."""
        start = self.layout.meta.get(b"\x02\x00" + element.to_bytes(2, "little"))
        return "" if start is None else str(_uids(self.source.value(start, explicit=True)[1]))

    def private(self, group: int, creator: str, element: int) -> Any:
        """The value of a private element; None where it is absent."""
        key = (group, creator, element)
        if key not in self.values:
            self.values[key] = self._private(*key)
        return self.values[key]

    def _private(self, group: int, creator: str, element: int) -> Any:
        if self._creators is None:
            self._creators = self._find_creators()
        block = self._creators.get((group, creator.strip().lower()))
        if block is None:
            return None
        start = self._start(group.to_bytes(2, "little") + bytes((element, block)))
        if start is None:
            return None
        if self._explicit:
            vr, raw = self.source.value(start, explicit=True)
            if vr in (b"OB", b"OW") and raw:
                return raw
            decode = _DECODERS.get(vr)
            try:
                if decode is not None and raw:
                    return decode(raw)
            except ValueError:
                pass
        return _private_of_dataset(self.whole(), group, creator, element)

    def whole(self) -> "Dataset":
        """The same header as pydicom reads it."""
        if self._whole is None:
            from medfuse.ingest.dicom.files import read_header

            self._whole = read_header(self.source.path)[0]
        return self._whole

    def _start(self, tag: bytes) -> int | None:
        start = self._spans.get(tag)
        place = self._places.get(tag)
        if start is None and place is not None and place[0] < len(self._shifts):
            start = place[1] + self._shifts[place[0]]
        return start

    def _decoded(self, key: str | int, dictionary_vr: bytes, start: int) -> Any:
        vr, raw = self.source.value(start, explicit=self._explicit)
        if not self._explicit and vr is not FOR_PYDICOM:
            vr = dictionary_vr
            if vr == b"US or SS":
                vr = _SIGNED_OR_NOT.get(self.get("PixelRepresentation"), FOR_PYDICOM)
        memo = self._memo
        if memo is None:
            memo = self._memo = self._choose_memo()
        if (vr, raw) in memo:
            return memo[vr, raw]
        try:
            value = self._converted(vr, raw)
        except (ValueError, KeyError):
            return self._by_pydicom(key) if isinstance(key, str) else raw
        if len(raw) <= _LONGEST_REMEMBERED and raw.isascii():
            if len(memo) > _MOST_REMEMBERED:
                memo.clear()
            memo[vr, raw] = value
        return value

    def _by_pydicom(self, key: str) -> Any:
        from medfuse.ingest.dicom.files import quiet

        with quiet():
            return self.whole().get(key)

    def _converted(self, vr: bytes, raw: bytes) -> Any:
        if not raw:
            if vr in _EMPTY_IS_TEXT:
                return ""
            if vr in _EMPTY_IS_NONE:
                return None
        if vr in _ANY_CHARACTERS:
            return _text(raw, vr in _ONE_VALUE, self._encoding(raw))
        return _DECODERS[vr](raw)

    def _choose_memo(self) -> dict[tuple[bytes, bytes], Any]:
        """What equal bytes were decoded to before; apart in files where ASCII is something else."""
        start = self._start(_CHARACTER_SET)
        raw = b"" if start is None else self.source.value(start, explicit=self._explicit)[1]
        return {} if b"IR 13" in raw else _MEMO

    def _encoding(self, raw: bytes) -> str:
        """How to decode text: ASCII wherever it is that, whatever the character set; else the two common ones.

        Raises:
            ValueError: Another character set, or escape sequences: for pydicom.
        """
        if b"\x1b" in raw:
            raise ValueError("escape sequences change the character set")
        charset = self.get("SpecificCharacterSet")
        if raw.isascii() and charset != "ISO_IR 13":
            return "ascii"
        return _ENCODINGS[charset if isinstance(charset, str) else ""]

    def _find_creators(self) -> dict[tuple[int, str], int]:
        creators: dict[tuple[int, str], int] = {}
        for tag, start in self.layout.all_spans().items():
            if tag[0] & 1 and tag[3] == 0 and tag[2] >= 0x10:
                raw = self.source.value(start, explicit=self._explicit)[1]
                name = raw.decode("latin-1").rstrip("\0 ").strip().lower()
                creators.setdefault((int.from_bytes(tag[:2], "little"), name), tag[2])
        return creators


class KnownHeader:
    """What was read of a plain header before.

    Args:
        values: Every element that was asked for and was there.
    """

    __slots__ = ("values",)

    def __init__(self, values: dict[Key, Any]) -> None:
        self.values = values

    def get(self, key: str | int, default: Any = None, /) -> Any:
        """The value of an element by keyword or number, or `default` where there is none."""
        return self.values.get(key, default)

    def __contains__(self, key: str | int, /) -> bool:
        return key in self.values

    def private(self, group: int, creator: str, element: int) -> Any:
        """The value of a private element; None where it is absent."""
        return self.values.get((group, creator, element))


def private_value(header: Header, group: int, creator: str, element: int) -> Any:
    """The value of a private element (PS3.5 section 7.8.1).

    Args:
        header: A header of any kind.
        group: An odd group, e.g. 0x2005.
        creator: Who reserved the block, e.g. `Philips MR Imaging DD 001`; case and padding do not matter.
        element: The last two digits of the element, e.g. 0x0E for (2005,100E).

    Returns:
        As pydicom types it; bytes where the value representation is unknown; None where the element is absent or
        cannot be decoded.
    """
    if isinstance(header, PlainHeader | KnownHeader):
        return header.private(group, creator, element)
    return _private_of_dataset(header, group, creator, element)


def _private_of_dataset(dataset: Any, group: int, creator: str, element: int) -> Any:
    from medfuse.ingest.dicom.files import READ_ERRORS, quiet

    wanted = creator.strip().lower()
    try:
        with quiet():
            return _find_private(dataset, group, wanted, element)
    except READ_ERRORS:
        return None


def _find_private(dataset: Any, group: int, creator: str, element: int) -> Any:
    for tag in list(getattr(dataset, "keys", tuple)()):
        if tag >> 16 != group or not 0x10 <= tag & 0xFFFF <= 0xFF:
            continue
        if str(dataset[tag].value or "").strip().lower() == creator:
            found = dataset.get((group, (tag & 0xFF) << 8 | element))
            return None if found is None else found.value
    return None


def _many(convert: Callable[[str], Any], text: str) -> Any:
    """One value, or a tuple of those that backslashes part."""
    return tuple([convert(part) for part in text.split("\\")]) if "\\" in text else convert(text)


def _whole_number(text: str) -> int:
    return int(text)


def _string(raw: bytes) -> Any:
    return _many(str, raw.decode("ascii").rstrip(" \0"))


def _stripped(raw: bytes) -> Any:
    return _many(str.strip, raw.decode("ascii"))


def _decimal(raw: bytes) -> Any:
    return _many(float, raw.decode("ascii").strip().rstrip(" \0"))


def _integer(raw: bytes) -> Any:
    return _many(_whole_number, raw.decode("ascii").rstrip(" \0"))


def _text(raw: bytes, one: bool, encoding: str) -> Any:
    text = raw.decode(encoding)
    if one or "\\" not in text:
        return text.rstrip("\0 ")
    return tuple([part.rstrip("\0 ") for part in text.split("\\")])


def _numbers(code: str) -> Callable[[bytes], Any]:
    size = struct.calcsize(f"<{code}")
    one = struct.Struct(f"<{code}").unpack

    def decode(raw: bytes) -> Any:
        if len(raw) == size:
            return one(raw)[0]
        if len(raw) % size:
            raise ValueError("no whole number of values")
        return struct.unpack(f"<{len(raw) // size}{code}", raw)

    return decode


def _uids(raw: bytes) -> Any:
    return _many(str, raw.decode("ascii").rstrip("\0 "))


_DECODERS: dict[bytes, Callable[[bytes], Any]] = {
    **dict.fromkeys((b"CS", b"AS", b"DA", b"DT", b"TM"), _string),
    b"AE": _stripped,
    b"DS": _decimal,
    b"IS": _integer,
    b"UI": _uids,
    **{vr: _numbers(code) for vr, code in zip(b"US SS UL SL FL FD".split(), "HhLlfd", strict=True)},
}
_ANY_CHARACTERS = frozenset({b"LO", b"SH", b"ST", b"LT", b"UT", b"UC"})
_ONE_VALUE = frozenset({b"ST", b"LT", b"UT"})
_EMPTY_IS_TEXT = frozenset(b"AE AS CS DA DT LO LT SH ST TM UC UI UT".split())
_EMPTY_IS_NONE = frozenset(b"DS IS US SS UL SL FL FD".split())
_ENCODINGS = {"": "latin-1", "ISO_IR 6": "latin-1", "ISO_IR 100": "latin-1", "ISO_IR 192": "utf-8"}
_SIGNED_OR_NOT = {0: b"US", 1: b"SS"}
_CHARACTER_SET = b"\x08\x00\x05\x00"
_PIXEL_REPRESENTATION = b"\x28\x00\x03\x01"
_LONGEST_REMEMBERED = 80
_MOST_REMEMBERED = 20_000
_MEMO: dict[tuple[bytes, bytes], Any] = {}
"""Value representation and bytes -> value: the files of a series repeat each other."""

_KNOWN: dict[str | int, tuple[bytes, bytes]] = {}
"""Keyword -> tag as bytes, and the dictionary's value representation; filled as keywords are asked for."""


def _look_up(key: str | int) -> tuple[bytes, bytes]:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = key if isinstance(key, int) else tag_for_keyword(key)
    if tag is None:
        return b"", b""
    vr = b"UN" if isinstance(key, int) else dictionary_VR(tag).encode()
    entry = struct.pack("<HH", tag >> 16, tag & 0xFFFF), vr
    _KNOWN[key] = entry
    return entry


def as_values(value: Any) -> Sequence[Any]:
    """The values of an element that may hold one or several; none when it is absent or empty."""
    if value is None or value == "":
        return ()
    return (value,) if isinstance(value, (str, bytes, int, float)) else tuple(value)
