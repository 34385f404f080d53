"""The walk over bytes and pydicom give the same answer, for made headers and for every real file."""

import math
import re
import struct
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.sequence import Sequence

import medfuse.ingest.dicom
from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.files import READ_ERRORS, DicomFile, open_file, quiet, read_header
from medfuse.ingest.dicom.header import PlainHeader, private_value

SOURCES = [path.read_text(encoding="utf-8") for path in Path(medfuse.ingest.dicom.__path__[0]).glob("*.py")]
KEYWORDS = sorted(
    {
        word
        for text in SOURCES
        for word in re.findall(r'"([A-Z][A-Za-z]+)"', text)
        if tag_for_keyword(word) is not None and tag_for_keyword(word) >> 16 > 2
    }
)
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
LONG = {"OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UN", "UC", "UR", "UT", "SV", "UV"}
UNDEFINED = 0xFFFFFFFF
PRIVATE = [(0x0019, "MADE MR HEADER", 0x0C), (0x2005, "Made Imaging DD 001", 0x0E)]

texts = st.text("AZ az09.-+\\^=é", max_size=12).map(lambda text: text.encode("latin-1"))
numbers = st.one_of(
    st.lists(st.integers(-9999, 9999).map(str), max_size=4).map("\\".join),
    st.lists(st.floats(-1e4, 1e4, allow_nan=False).map(lambda x: f"{x:.6g}"), max_size=6).map("\\".join),
    st.sampled_from(["", " ", "1.0", "1e3", "+5", " 7 ", "12abc", "1,5", "1_0", "nan", "inf", "1\\\\2", "\\", "1\0"]),
).map(str.encode)
padding = st.sampled_from([b"", b" ", b"\0", b"  ", b"\0\0", b" \0"])


@st.composite
def values(draw: st.DrawFn, vr: str) -> bytes:
    if vr in ("US", "SS", "UL", "SL", "FL", "FD", "US or SS"):
        size = {"UL": 4, "SL": 4, "FL": 4, "FD": 8}.get(vr, 2)
        length = size * draw(st.sampled_from([0, 1, 1, 1, 2, 3])) + draw(st.sampled_from([0, 0, 0, 1]))
        return draw(st.binary(min_size=length, max_size=length))
    if vr in ("DS", "IS"):
        return draw(numbers) + draw(padding)
    if vr == "UI":
        return draw(st.text("0123456789.", max_size=20)).encode() + draw(padding)
    if vr == "SQ":
        return b""
    return draw(texts) + draw(padding)


def element(tag: int, vr: str, value: bytes, *, explicit: bool, undefined: bool = False) -> bytes:
    length = UNDEFINED if undefined else len(value)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return head + struct.pack("<L", length) + value
    if vr in LONG:
        return head + vr.encode() + b"\0\0" + struct.pack("<L", length) + value
    return head + vr.encode() + struct.pack("<H", length) + value


def sequence(tag: int, items: list[bytes], *, explicit: bool, undefined: bool) -> bytes:
    content = b""
    for item in items:
        if undefined:
            content += b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + item + b"\xfe\xff\x0d\xe0\0\0\0\0"
        else:
            content += b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item
    if undefined:
        content += b"\xfe\xff\xdd\xe0\0\0\0\0"
    return element(tag, "SQ", content, explicit=explicit, undefined=undefined)


@st.composite
def elements(draw: st.DrawFn, *, explicit: bool) -> dict[int, bytes]:
    """Tag -> encoded element: some of medfuse's keywords, private ones, sequences that nobody asks for."""
    made: dict[int, bytes] = {}
    for keyword in draw(st.lists(st.sampled_from(KEYWORDS), min_size=3, max_size=25, unique=True)):
        tag = tag_for_keyword(keyword)
        vr = dictionary_VR(tag)
        if vr == "SQ":
            inner = [element(0x00280010, "US", b"\1\0", explicit=explicit)] * draw(st.integers(0, 2))
            undefined = tag >> 16 != 0x5200 and draw(st.booleans())  # enhanced objects are pydicom's
            made[tag] = sequence(tag, inner, explicit=explicit, undefined=undefined)
            continue
        written = "US" if vr == "US or SS" else "OW" if " or " in vr else vr
        made[tag] = element(tag, written, draw(values(vr)), explicit=explicit)
    if draw(st.booleans()):
        charset = draw(st.sampled_from([b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 13 ", b"\\ISO 2022 IR 87", b"", b"x"]))
        made[0x00080005] = element(0x00080005, "CS", charset, explicit=explicit)
    for group, creator, number in draw(st.lists(st.sampled_from(PRIVATE), max_size=2, unique=True)):
        block = draw(st.sampled_from([0x10, 0x11]))
        made[group << 16 | block] = element(group << 16 | block, "LO", creator.encode(), explicit=explicit)
        vr = draw(st.sampled_from(["DS", "FD", "LO", "OB", "UN"]))
        tag = group << 16 | block << 8 | number
        made[tag] = element(tag, vr, draw(values(vr)), explicit=explicit)
    for tag in draw(st.lists(st.sampled_from([0x00081140, 0x00082112, 0x00400275]), max_size=3, unique=True)):
        nested = element(0x00080060, "CS", b"MR", explicit=explicit)
        for _ in range(draw(st.integers(0, 3))):
            nested = sequence(0x00081140, [nested], explicit=explicit, undefined=draw(st.booleans()))
        undefined = draw(st.booleans())
        made[tag] = sequence(tag, [nested] * draw(st.integers(0, 3)), explicit=explicit, undefined=undefined)
    return made


def encode(made: dict[int, bytes], *, explicit: bool) -> bytes:
    syntax = (EXPLICIT if explicit else IMPLICIT).encode()
    syntax += b"\0" * (len(syntax) % 2)
    meta = element(0x00020010, "UI", syntax, explicit=True)
    meta = element(0x00020000, "UL", struct.pack("<L", len(meta)), explicit=True) + meta
    pixels = element(0x7FE00010, "OW", b"\1\2\3\4", explicit=explicit)
    return b"\0" * 128 + b"DICM" + meta + b"".join(made[tag] for tag in sorted(made)) + pixels


def plain(value: Any) -> Any:
    """A value without pydicom's types, NaN made comparable."""
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, bool | bytes) or value is None:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Sequence):
        return [str(item) for item in value]
    if hasattr(value, "__iter__") and not hasattr(value, "components"):
        return tuple(plain(part) for part in value)
    return str(value)


def answer(ask: Any) -> Any:
    try:
        return plain(ask())
    except READ_ERRORS as error:
        return type(error).__name__


def differences(file: DicomFile) -> Iterator[str]:
    """Keywords to which the walk and pydicom answer differently."""
    dataset, span = read_header(file.path)
    for keyword in KEYWORDS:
        ours, theirs = (answer(lambda one=one, word=keyword: one.get(word)) for one in (file.header, dataset))
        if ours != theirs or (keyword in file.header) != (keyword in dataset):
            yield f"{keyword}: {ours!r}, pydicom {theirs!r}"
    for place in PRIVATE:
        ours, theirs = (answer(lambda one=one, p=place: private_value(one, *p)) for one in (file.header, dataset))
        if ours != theirs:
            yield f"{place}: {ours!r}, pydicom {theirs!r}"
    if file.span != span:
        yield f"pixels: {file.span}, pydicom {span}"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data(), st.booleans())
def test_made_headers(data: st.DataObject, explicit: bool) -> None:
    """A header, and others that repeat it but for some elements, as the slices of a series do."""
    first = data.draw(elements(explicit=explicit))
    series = [first]
    for _ in range(3):
        changed = data.draw(elements(explicit=explicit))
        kept = {tag for tag in first if data.draw(st.integers(0, 4))}
        series.append({**{tag: first[tag] for tag in kept}, **dict(list(changed.items())[:2])})
    with tempfile.TemporaryDirectory() as folder, quiet():
        for n, made in enumerate([*series, *series]):
            path = Path(folder) / str(n)
            path.write_bytes(encode(made, explicit=explicit))
            file = open_file(path)
            assert isinstance(file.header, PlainHeader)
            assert list(differences(file)) == []


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans())
def test_a_cut_header_is_no_answer_or_the_same(data: st.DataObject, explicit: bool) -> None:
    whole = encode(data.draw(elements(explicit=explicit)), explicit=explicit)
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "cut"
        path.write_bytes(whole[: data.draw(st.integers(140, len(whole)))])
        try:
            file = open_file(path)
        except UnreadableFileError:
            return
        assert list(differences(file)) == []


def check_files(paths: list[Path]) -> int:
    """Compare both readers on files, return how many of them were plain."""
    n_plain = 0
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        for path in paths:
            try:
                file = open_file(path)
            except UnreadableFileError:
                continue
            if isinstance(file.header, PlainHeader):
                n_plain += 1
                assert list(differences(file)) == [], path.name
    return n_plain


def test_files_that_ship_with_pydicom() -> None:
    found = sorted(path for path in (Path(pydicom.data.__path__[0]) / "test_files").rglob("*") if path.is_file())
    assert check_files(found) > 40


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["brain-mr-dicom", "ct-dicom", "lidc-dicom", "dicom-objects", "dicom-oracle"])
def test_real_files(shared_data: Path, folder: str) -> None:
    found = sorted(path for path in (shared_data / folder).rglob("*") if path.is_file())
    assert check_files(found[:: 1 + len(found) // 120]) > 5


@pytest.mark.slow
@pytest.mark.realdata
def test_every_real_file(shared_data: Path) -> None:
    assert check_files(sorted(path for path in shared_data.rglob("*") if path.is_file())) > 5000
