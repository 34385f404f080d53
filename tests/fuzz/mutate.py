"""Mutations of DICOM files: what bad discs, cut copies, odd exporters and malice make of them.

Each takes the bytes of a file and a seeded generator, and gives other bytes. They know where elements begin (found
once by pydicom's own reader), so that lengths, VRs and values are hit on purpose and not by luck alone.
"""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from pydicom.filereader import data_element_generator, read_partial
from pydicom.uid import UID

LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UC", b"UR", b"UT", b"SV", b"UV")
VRS = (
    b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV ZZ \0\0"
).split(b" ")
SYNTAXES = (
    b"1.2.840.10008.1.2",
    b"1.2.840.10008.1.2.1",
    b"1.2.840.10008.1.2.1.99",
    b"1.2.840.10008.1.2.2",
    b"1.2.840.10008.1.2.5",
    b"1.2.840.10008.1.2.4.50",
    b"1.2.840.10008.1.2.4.51",
    b"1.2.840.10008.1.2.4.57",
    b"1.2.840.10008.1.2.4.70",
    b"1.2.840.10008.1.2.4.80",
    b"1.2.840.10008.1.2.4.81",
    b"1.2.840.10008.1.2.4.90",
    b"1.2.840.10008.1.2.4.91",
    b"1.2.840.10008.1.2.4.201",
    b"1.2.840.10008.1.2.4.203",
    b"1.2.840.10008.1.2.4.100",
    b"9.9.9",
    b"",
)
LENGTHS = (0, 1, 2, 3, 7, 8, 0xFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
SHORTS = (0, 1, 2, 3, 7, 8, 12, 15, 16, 17, 24, 32, 64, 255, 256, 4096, 32767, 32768, 60000, 65535)
TEXTS = (
    b"",
    b"0",
    b"-1",
    b"nan",
    b"inf",
    b"1e400",
    b"-1e-400",
    b"1\\2",
    b"1\\2\\3\\4\\5\\6\\7",
    b"\\\\\\",
    b"99999999999999999999",
    b"2147483648",
    b"1e10",
    b"0\\0\\0\\0\\0\\0",
    b"\xff\xfe\x00\x1b$B",
    b"%s%n{}",
    b"../../etc",
    b"A" * 20000,
)
SIZES = {0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280002, 0x00280006}
NUMBERS = {0x00280008, 0x00280030, 0x00200032, 0x00200037, 0x00281052, 0x00281053, 0x00180050, 0x00180088, 0x00280120}
PIXELS = 0x7FE00010


@dataclass(frozen=True, kw_only=True)
class Element:
    """Where an element's tag, VR, length and value lie."""

    tag: int
    start: int
    length_at: int
    length_size: int
    value: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """A whole file and its top-level elements."""

    data: bytes
    elements: tuple[Element, ...]
    implicit: bool
    order: str

    @property
    def pixels(self) -> int:
        """Where the pixel data begin, or the end of the file."""
        return next((element.value for element in self.elements if element.tag == PIXELS), len(self.data))


def parse(data: bytes) -> Parsed:
    """Find the top-level elements of a whole file."""
    file = BytesIO(data)
    dataset = read_partial(file, force=True)
    meta = getattr(dataset, "file_meta", None)
    syntax = UID(meta.get("TransferSyntaxUID", "")) if meta else UID("")
    if "Deflated" in syntax.name:
        return Parsed(data=data, elements=(), implicit=False, order="<")
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    begin = 0 if data[128:132] != b"DICM" else 144 + struct.unpack("<L", data[140:144])[0]
    file.seek(begin)
    places = []
    for raw in data_element_generator(file, implicit, little, defer_size=0):
        value = int(raw.value_tell if hasattr(raw, "value_tell") else raw.file_tell or 0)
        size = 2 if not implicit and str(raw.VR).encode() not in LONG_VRS else 4
        places.append((int(raw.tag), value - (8 if implicit or size == 2 else 12), size, value))
    ends = [start for _, start, _, _ in places[1:]] + [len(data)]
    elements = [
        Element(tag=tag, start=start, length_at=value - size, length_size=size, value=value, length=end - value)
        for (tag, start, size, value), end in zip(places, ends, strict=True)
    ]
    return Parsed(data=data, elements=tuple(elements), implicit=bool(implicit), order=order)


def _put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def flip_bits(of: Parsed, rng: random.Random) -> bytes:
    """Flip a few bits anywhere."""
    data = bytearray(of.data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def flip_header_bits(of: Parsed, rng: random.Random) -> bytes:
    """Flip a few bits before the pixel data."""
    data = bytearray(of.data)
    for _ in range(rng.choice((1, 2, 4, 16))):
        data[rng.randrange(min(of.pixels, len(data)))] ^= 1 << rng.randrange(8)
    return bytes(data)


def cut(of: Parsed, rng: random.Random) -> bytes:
    """End the file somewhere, or at the edge of an element."""
    if of.elements and rng.random() < 0.5:
        element = rng.choice(of.elements)
        return of.data[: element.start + rng.choice((0, 2, 4, 6, 7, 8, 10, 12, 13))]
    return of.data[: rng.randrange(len(of.data))]


def change_length(of: Parsed, rng: random.Random) -> bytes:
    """Announce another length."""
    element = rng.choice(of.elements)
    length = rng.choice((*LENGTHS, element.length + 1, element.length - 1, element.length * 2)) % (1 << 32)
    size = element.length_size
    packed = struct.pack(of.order + "L", length) if size == 4 else struct.pack(of.order + "H", length % (1 << 16))
    return _put(of.data, element.length_at, packed)


def change_vr(of: Parsed, rng: random.Random) -> bytes:
    """Write another VR."""
    element = rng.choice(of.elements)
    return of.data if of.implicit else _put(of.data, element.start + 4, rng.choice(VRS)[:2].ljust(2))


def change_size(of: Parsed, rng: random.Random) -> bytes:
    """Claim another matrix, number of bits or samples, up to 60,000 x 60,000 and beyond."""
    data = of.data
    sizes = [element for element in of.elements if element.tag in SIZES and element.length == 2]
    for element in rng.sample(sizes, min(len(sizes), rng.choice((1, 1, 2, 3)))):
        data = _put(data, element.value, struct.pack(of.order + "H", rng.choice(SHORTS)))
    return data


def huge(of: Parsed, rng: random.Random) -> bytes:
    """Claim 60,000 x 60,000 pixels, and as many frames as fit into the field."""
    data = of.data
    for element in of.elements:
        if element.tag in (0x00280010, 0x00280011):
            data = _put(data, element.value, struct.pack(of.order + "H", rng.choice((60000, 65535))))
        if element.tag == 0x00280008:
            data = _put(data, element.value, b"9" * element.length)
    return data


def change_text(of: Parsed, rng: random.Random) -> bytes:
    """Put another text in place of a value, with its right length."""
    wanted = [element for element in of.elements if element.tag in NUMBERS]
    element = rng.choice(wanted if wanted and rng.random() < 0.6 else of.elements)
    text = rng.choice(TEXTS)
    text += b" " * (len(text) % 2)
    if element.length_size == 2:
        text = text[:0xFFFE]
    length = struct.pack(of.order + ("L" if element.length_size == 4 else "H"), len(text))
    return of.data[: element.length_at] + length + text + of.data[element.value + element.length :]


def drop(of: Parsed, rng: random.Random) -> bytes:
    """Leave elements out."""
    data = of.data
    for element in sorted(
        rng.sample(of.elements, min(len(of.elements), rng.choice((1, 1, 3)))), key=lambda e: -e.start
    ):
        data = data[: element.start] + data[element.value + element.length :]
    return data


def double(of: Parsed, rng: random.Random) -> bytes:
    """Write an element twice, or behind its place."""
    first, second = rng.choice(of.elements), rng.choice(of.elements)
    piece = of.data[first.start : first.value + first.length]
    return of.data[: second.start] + piece + of.data[second.start :]


def nest(of: Parsed, rng: random.Random) -> bytes:
    """Put in a sequence within a sequence within ..., deeper than any stack."""
    depth = rng.choice((3, 60, 900, 5000))
    tag = (
        struct.pack(of.order + "HH", 0x0009, 0x1001) if rng.random() < 0.5 else struct.pack(of.order + "HH", 8, 0x1140)
    )
    vr = b"" if of.implicit else b"SQ\0\0"
    opening = tag + vr + b"\xff" * 4 + struct.pack(of.order + "HH", 0xFFFE, 0xE000) + b"\xff" * 4
    closing = struct.pack(of.order + "HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    at = rng.choice(of.elements).start
    closed = closing * depth if rng.random() < 0.7 else b""
    return of.data[:at] + opening * depth + closed + of.data[at:]


def change_syntax(of: Parsed, rng: random.Random) -> bytes:
    """Say that the file is in another transfer syntax."""
    start = of.data.find(b"\x02\x00\x10\x00UI", 0, 600)
    if start < 0:
        return of.data
    (length,) = struct.unpack("<H", of.data[start + 6 : start + 8])
    syntax = rng.choice(SYNTAXES)
    syntax += b"\0" * (len(syntax) % 2)
    return of.data[: start + 6] + struct.pack("<H", len(syntax)) + syntax + of.data[start + 8 + length :]


def spoil_pixels(of: Parsed, rng: random.Random) -> bytes:
    """Write garbage into the pixel data or the compressed stream, most often near its beginning."""
    begin, data = min(of.pixels, len(of.data) - 1), bytearray(of.data)
    for _ in range(rng.choice((1, 2, 8))):
        room = len(data) - begin
        at = begin + (rng.randrange(min(120, room)) if rng.random() < 0.7 else rng.randrange(room))
        run = rng.choice((1, 1, 2, 4, 40))
        value = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80", None))
        new = value * run if value else rng.randbytes(run)
        data[at : at + run] = new[: len(data) - at]
    return bytes(data)


def move_pixels(of: Parsed, rng: random.Random) -> bytes:
    """Take bytes out of the pixel data, or put some in."""
    begin = min(of.pixels, len(of.data) - 1)
    at, run = rng.randrange(begin, len(of.data)), rng.choice((1, 2, 8, 100))
    return of.data[:at] + (of.data[at + run :] if rng.random() < 0.5 else rng.randbytes(run) + of.data[at:])


def spoil_sequence(of: Parsed, rng: random.Random) -> bytes:
    """Write garbage into one long value: functional groups, private (CSA) headers, contents of reports."""
    long = [element for element in of.elements if element.length > 60 and element.tag != PIXELS]
    if not long:
        return flip_header_bits(of, rng)
    element, data = rng.choice(long), bytearray(of.data)
    for _ in range(rng.choice((1, 2, 4))):
        at = element.value + rng.randrange(element.length)
        data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", rng.randbytes(4)))
    return bytes(data)


def splice(of: Parsed, rng: random.Random) -> bytes:
    """Join the beginning of the file to another place of itself."""
    first, second = sorted(rng.randrange(len(of.data)) for _ in range(2))
    return of.data[:second] + of.data[first:] if rng.random() < 0.5 else of.data[:first] + of.data[second:]


def nothing(of: Parsed, rng: random.Random) -> bytes:
    """Nearly no file at all."""
    return rng.choice((b"", b"\0" * 200, of.data[:132], of.data[:128] + b"DICM", rng.randbytes(400), b"\x08\0" * 90))


MUTATIONS: tuple[Callable[[Parsed, random.Random], bytes], ...] = (
    flip_bits,
    flip_header_bits,
    flip_header_bits,
    cut,
    change_length,
    change_length,
    change_vr,
    change_size,
    change_size,
    huge,
    change_text,
    change_text,
    drop,
    double,
    nest,
    change_syntax,
    spoil_pixels,
    spoil_pixels,
    spoil_pixels,
    move_pixels,
    spoil_sequence,
    spoil_sequence,
    splice,
    nothing,
)


def mutate(of: Parsed, rng: random.Random) -> tuple[str, bytes]:
    """One mutation of a file, now and then two; its name and the new bytes."""
    for _ in range(20):
        change = rng.choice(MUTATIONS)
        if of.elements or change in (flip_bits, cut, spoil_pixels, splice, change_syntax, nothing, move_pixels):
            break
    else:
        change = flip_bits
    return change.__name__, change(of, rng)
