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

    __slots__ = ("_creators", "_whole", "layout", "source", "values")

    def __init__(self, source: FileBytes, layout: Layout) -> None:
        self.source = source
        self.layout = layout
        self.values: dict[str | int, Any] = {}
        self._whole: Dataset | None = None
        self._creators: dict[tuple[int, str], int] | None = None

    def get(self, key: str | int, default: Any = None, /) -> Any:
        """The value of an element by keyword, typed as pydicom types it, or `default` where there is none.

        By its number (0xggggeeee), an element is decoded where it names its value representation; else it is bytes.
        """
        values = self.values
        if key in values:
            return values[key]
        entry = _KNOWN.get(key) or _look_up(key)
        start = self.layout.spans.get(entry[0])
        if start is None:
            return default
        value = values[key] = self._decoded(key, entry[1], start)
        return value

    def __contains__(self, key: str | int, /) -> bool:
        return (_KNOWN.get(key) or _look_up(key))[0] in self.layout.spans

    def meta_uid(self, element: int) -> str:
        """A UID of the file meta information (group 0002); empty where it is absent."""
        start = self.layout.meta.get(b"\x02\x00" + element.to_bytes(2, "little"))
        return "" if start is None else str(_uids(self.source.value(start, explicit=True)[1]))

    def private(self, group: int, creator: str, element: int) -> Any:
        """The value of a private element; None where it is absent."""
        if self._creators is None:
            self._creators = self._find_creators()
        block = self._creators.get((group, creator.strip().lower()))
        if block is None:
            return None
        tag = group.to_bytes(2, "little") + bytes((element, block))
        start = self.layout.spans.get(tag)
        if start is None:
            return None
        vr, raw = self.source.value(start, explicit=self.layout.explicit)
        decode = _DECODERS.get(vr)
        try:
            if decode is not None and self.layout.explicit and raw:
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

    def _decoded(self, key: str | int, dictionary_vr: bytes, start: int) -> Any:
        vr, raw = self.source.value(start, explicit=self.layout.explicit)
        if not self.layout.explicit and vr is not FOR_PYDICOM:
            vr = dictionary_vr
            if vr == b"US or SS":
                vr = b"SS" if self.get("PixelRepresentation") == 1 else b"US"
        if not raw and vr in _EMPTY_IS_TEXT:
            return ""
        try:
            if not raw and vr in _EMPTY_IS_NONE:
                return None
            if vr in _ANY_CHARACTERS:
                return _text(raw, vr in _ONE_VALUE, self._encoding(raw))
            return _DECODERS[vr](raw)
        except (ValueError, KeyError):
            return self.whole().get(key) if isinstance(key, str) else raw

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
        for tag, start in self.layout.spans.items():
            if tag[0] & 1 and tag[3] == 0 and tag[2] >= 0x10:
                raw = self.source.value(start, explicit=self.layout.explicit)[1]
                name = raw.decode("latin-1").rstrip("\0 ").strip().lower()
                creators.setdefault((int.from_bytes(tag[:2], "little"), name), tag[2])
        return creators


def private_value(header: Header, group: int, creator: str, element: int) -> Any:
    """The value of a private element (PS3.5 section 7.8.1).

    Args:
        header: A header of any kind.
        group: An odd group, e.g. 0x2005.
        creator: Who reserved the block, e.g. `Philips MR Imaging DD 001`; case and padding do not matter.
        element: The last two digits of the element, e.g. 0x0E for (2005,100E).

    Returns:
        As pydicom types it; bytes where the value representation is unknown; None where the element is absent.
    """
    if isinstance(header, PlainHeader):
        return header.private(group, creator, element)
    return _private_of_dataset(header, group, creator, element)


def _private_of_dataset(dataset: Any, group: int, creator: str, element: int) -> Any:
    if not hasattr(dataset, "group_dataset"):
        return None
    for entry in dataset.group_dataset(group):
        if 0x10 <= entry.tag.element <= 0xFF and str(entry.value or "").strip().lower() == creator.strip().lower():
            found = dataset.get((group, entry.tag.element << 8 | element))
            return None if found is None else found.value
    return None


def _many(convert: Callable[[str], Any], text: str) -> Any:
    """One value, or a list of those that backslashes part."""
    return [convert(part) for part in text.split("\\")] if "\\" in text else convert(text)


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
    return [part.rstrip("\0 ") for part in text.split("\\")]


def _numbers(code: str) -> Callable[[bytes], Any]:
    size = struct.calcsize(f"<{code}")
    one = struct.Struct(f"<{code}").unpack

    def decode(raw: bytes) -> Any:
        if len(raw) == size:
            return one(raw)[0]
        if len(raw) % size:
            raise ValueError("no whole number of values")
        return list(struct.unpack(f"<{len(raw) // size}{code}", raw))

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
