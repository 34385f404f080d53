"""Opening files: what is plain is walked over, what is not is pydicom's, and no claim of a file is believed."""

import os
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom import files
from medfuse.ingest.dicom.files import BoundedFile, inflate, open_bounded, open_file, read_header
from medfuse.ingest.dicom.header import PlainHeader, private_value
from tests.unit.ingest.made_dicom import enhanced, image, ramp, save, slices, uid

ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
UNDEFINED = b"\xff\xff\xff\xff"
SEQUENCE = b"\x08\x00\x40\x11SQ\0\0"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return save(slices(ramp((5, 4, 1)))[0], tmp_path / "x")


def insert(path: Path, element: bytes, before: bytes = b"\x10\x00\x10\x00PN") -> Path:
    """Put bytes before an element of an explicit file."""
    data = path.read_bytes()
    at = data.index(before)
    path.write_bytes(data[:at] + element + data[at:])
    return path


def peak_bytes(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(path: Path) -> str:
    with pytest.raises(UnreadableFileError) as caught:
        open_file(path)
    return caught.value.reason


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", ImplicitVRLittleEndian])
def test_a_plain_file_is_walked_over(tmp_path: Path, syntax: str) -> None:
    path = save(slices(ramp((5, 4, 1)))[0], tmp_path / "x", syntax=syntax)
    file = open_file(path)
    assert isinstance(file.header, PlainHeader)
    assert (file.syntax, file.little_endian, file.sop_instance_uid) == (syntax, True, uid(0, []))
    assert file.header.get("ImagePositionPatient") == (-10.0, 20.0, 30.0)
    assert file.header.get("NoSuchKeyword", 7) == 7
    assert "Rows" in file.header
    assert "EchoTime" not in file.header
    assert file.span is not None
    assert (file.span.length, file.span.available, file.span.is_cut) == (40, 40, False)


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings_are_for_pydicom(tmp_path: Path, syntax: str) -> None:
    file = open_file(save(slices(ramp((5, 4, 1)))[0], tmp_path / "x", syntax=syntax))
    assert isinstance(file.header, pydicom.Dataset)
    assert file.little_endian == (syntax != ExplicitVRBigEndian)
    assert file.sop_instance_uid == uid(0, [])
    assert file.span is not None
    assert file.span.length == 40


def test_an_enhanced_object_is_for_pydicom_where_its_groups_are_asked_for(tmp_path: Path) -> None:
    path = save(enhanced(ramp((5, 4, 3)), order=[2, 0, 1]), tmp_path / "x")
    groups = open_file(path).header.get("PerFrameFunctionalGroupsSequence")
    assert len(groups) == 3
    assert groups[0].PlanePositionSequence[0].ImagePositionPatient == [1.0, 2.0, 8.0]


def test_blank_uids_come_from_the_meta_header(tmp_path: Path) -> None:
    dataset = image(SOPClassUID="", SOPInstanceUID="")
    path = save(dataset, tmp_path / "x")
    file = open_file(path)
    assert (file.sop_class_uid, file.sop_instance_uid) == ("1.2.840.10008.5.1.4.1.1.2", uid("x"))


def test_headers_longer_than_the_first_window(tmp_path: Path) -> None:
    dataset = slices(ramp((5, 4, 1)))[0]
    block = dataset.private_block(0x0029, "MADE CSA", create=True)
    block.add_new(0x10, "OB", b"\1" * 70_000)
    block.add_new(0x11, "DS", "2.5")
    late = dataset.private_block(0x2005, "MADE LATE", create=True)
    for n in range(200):
        late.add_new(n, "LO", "x" * 60)
    path = save(dataset, tmp_path / "x")
    file = open_file(path)
    assert isinstance(file.header, PlainHeader)
    assert file.header.get("Rows") == 4
    assert private_value(file.header, 0x0029, "made csa ", 0x10) == b"\1" * 70_000
    assert private_value(file.header, 0x0029, "MADE CSA", 0x11) == 2.5
    assert private_value(file.header, 0x2005, "MADE LATE", 199) == "x" * 60
    assert private_value(file.header, 0x2005, "NOT THERE", 1) is None
    assert file.header.get(0x2005_10C7) == "x" * 60
    assert file.span == read_header(path)[1]
    assert peak_bytes(lambda: open_file(path)) < 200_000


@pytest.mark.parametrize("where", ["value", "sequence", "item", "pixels"])
def test_lengths_beyond_the_file_are_refused_and_nothing_is_taken(whole: Path, where: str) -> None:
    long = struct.pack("<L", 0xFFFFFFF0)
    element = {
        "value": b"\x08\x00\x30\x41UT\0\0" + long,
        "sequence": SEQUENCE + long,
        "item": SEQUENCE + UNDEFINED + ITEM + long,
        "pixels": b"",
    }[where]
    insert(whole, element)
    if where == "pixels":
        data = whole.read_bytes()
        whole.write_bytes(data.replace(b"\xe0\x7f\x10\x00OW\0\0\x28\0\0\0", b"\xe0\x7f\x10\x00OW\0\0" + long))
        assert peak_bytes(lambda: open_file(whole)) < 100_000
        assert open_file(whole).span.is_cut
        return
    assert peak_bytes(lambda: refused(whole)) < 300_000
    assert refused(whole) == "TRUNCATED_FILE"


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("defined", [False, True])
def test_ten_thousand_nested_sequences_end(tmp_path: Path, implicit: bool, defined: bool) -> None:
    tag = SEQUENCE[:4] if implicit else SEQUENCE
    nested = b""
    for _ in range(10_000):
        if defined:
            inner = ITEM + struct.pack("<L", len(nested)) + nested
            nested = tag + struct.pack("<L", len(inner)) + inner
        else:
            nested = tag + UNDEFINED + ITEM + UNDEFINED + nested + ITEM_END + SEQUENCE_END
    path = tmp_path / "x"
    syntax = ImplicitVRLittleEndian if implicit else "1.2.840.10008.1.2.1"
    save(slices(ramp((5, 4, 1)))[0], path, syntax=syntax)
    insert(path, nested, b"\x10\x00\x10\x00" + (b"" if implicit else b"PN"))
    started = time.process_time()
    if defined:
        assert open_file(path).header.get("Rows") == 4
    else:
        assert refused(path) == "UNREADABLE_FILE"
    assert peak_bytes(lambda: _try(path)) < 20_000_000
    assert time.process_time() - started < 20


def _try(path: Path) -> None:
    try:
        open_file(path)
    except UnreadableFileError:
        return


@pytest.mark.parametrize("rest", [b"", ITEM + UNDEFINED, ITEM + UNDEFINED + b"\x08\x00\x60\x00CS\x02\x00MR" * 50])
def test_a_sequence_without_end_is_refused(whole: Path, rest: bytes) -> None:
    data = whole.read_bytes()
    at = data.index(b"\x10\x00\x10\x00PN")
    whole.write_bytes(data[:at] + SEQUENCE + UNDEFINED + rest)
    assert refused(whole) == "TRUNCATED_FILE"


def test_a_header_without_end_is_refused(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medfuse.ingest.dicom import walk

    monkeypatch.setattr(walk, "_MOST_HEADER_BYTES", 50_000)
    insert(whole, b"\x08\x00\x60\x00CS\x02\x00MR" * 60_000)
    assert refused(whole) == "UNREADABLE_FILE"


def test_a_file_that_shrinks_while_it_is_read_is_refused(whole: Path) -> None:
    insert(whole, b"\x29\x00\x10\x10OB\0\0" + struct.pack("<L", 20_000) + b"\0" * 20_000)
    head = whole.read_bytes()[:8192]
    size = whole.stat().st_size
    whole.write_bytes(head)
    with pytest.raises(UnreadableFileError) as caught:
        open_file(whole, size=size, head=head)
    assert caught.value.reason == "TRUNCATED_FILE"


def bomb(path: Path, inflated: int) -> Path:
    """A deflated file whose header is followed by zeros."""
    save(slices(ramp((5, 4, 1)))[0], path)
    data = path.read_bytes()
    start = 144 + int.from_bytes(data[140:144], "little")
    meta = pydicom.dcmread(path).file_meta
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.filewriter.write_file_meta_info(buffer, meta)
    deflate = zlib.compressobj(wbits=-15)
    dataset = data[start:]
    packed = deflate.compress(dataset[:-40])
    for _ in range(inflated >> 20):
        packed += deflate.compress(b"\0" * 2**20)
    path.write_bytes(data[:132] + buffer.getvalue() + packed + deflate.flush())
    return path


def test_a_deflated_file_is_inflated_no_further_than_its_pixels(tmp_path: Path) -> None:
    path = bomb(tmp_path / "x", 200 * 2**20)
    assert path.stat().st_size < 2**20
    assert peak_bytes(lambda: open_file(path)) < 30_000_000
    span = open_file(path).span
    assert span is not None
    assert len(inflate(path, span.offset + 40)) == span.offset + 40


def test_a_deflated_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    path = save(slices(ramp((5, 4, 1)))[0], tmp_path / "x", syntax=DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    for length in range(150, len(data), 40):
        path.write_bytes(data[:length])
        _try(path)
    path.write_bytes(data[:400] + b"\xff" * 300)
    _try(path)


def test_a_bounded_file_takes_no_memory_for_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    with open_bounded(tmp_path / "x") as file:
        assert isinstance(file, BoundedFile)
        assert peak_bytes(lambda: file.read(2**32 - 2)) < 200_000
        file.seek(1)
        assert file.read() == b"bc"


def test_every_spoiled_byte_of_a_header_gives_an_answer(whole: Path) -> None:
    data = whole.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(400):
        spoiled = bytearray(data)
        for at in rng.integers(132, len(data), 3):
            spoiled[at] = rng.integers(256)
        whole.write_bytes(bytes(spoiled))
        _try(whole)


def test_quiet_leaves_the_log_level_as_it_was() -> None:
    import logging

    logger = logging.getLogger("pydicom")
    before = logger.level
    with files.quiet():
        assert logger.level == logging.CRITICAL
    assert logger.level == before


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user who may not read everything")
def test_a_file_that_may_not_be_read_is_refused(whole: Path) -> None:
    whole.chmod(0)
    assert refused(whole) == "UNREADABLE_FILE"
