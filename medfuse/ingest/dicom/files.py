"""Open DICOM files that may be anything: without suffix, without preamble, cut off, or not DICOM at all.

`open_file` takes plain files by a walk over their bytes (`header`) and hands every other one to pydicom. pydicom reads
what it can and says little: a header that ends in the middle of a value comes back as a dataset with that value cut.
`read_header` therefore also finds where the pixel data lie, which tells a whole file from a truncated one without
reading a pixel. Lengths are a claim of the file: no read asks for more than the file holds, and deflated data are
inflated only as far as the header says that there are pixels.

Values are not validated while reading (names and identifiers would be quoted in warnings); what medfuse uses of a
header is checked where it is used.
"""

import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import pydicom
from pydicom import config
from pydicom.dataset import FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID

from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.header import Header, PlainHeader
from medfuse.ingest.dicom.walk import HEAD_BYTES, FileBytes, NotPlainError, dataset_start, read_at, walk

READ_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,
    LookupError,
    struct.error,
    zlib.error,
)
"""What pydicom and its codecs raise on files that break the standard; they have no base class of their own."""

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})
"""File name endings that promise DICOM."""


_UNDEFINED_LENGTH = 0xFFFFFFFF
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_BARE_STARTS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_DEFLATED = "1.2.840.10008.1.2.1.99"
_DEFLATED_HEADER_BYTES = 2**22


class PixelSpan(NamedTuple):
    """Where a file's pixel data lie.

    Args:
        offset: Byte offset of the value in the file, or in what a deflated file inflates to.
        length: Bytes that the element announces; None for encapsulated (compressed) pixel data.
        available: Bytes from `offset` to the end of the file; `length` in a deflated file, where nobody has looked.
        tag: (7FE0,0010) for integers, (7FE0,0008) for float, (7FE0,0009) for double pixel data.
    """

    offset: int
    length: int | None
    available: int
    tag: int = 0x7FE00010

    @property
    def is_cut(self) -> bool:
        """Whether the file ends before its pixel data do."""
        return self.length is not None and self.length > self.available


class DicomFile(NamedTuple):
    """One DICOM file, opened: its header, and where its pixels are.

    Args:
        path: The file.
        header: Its elements; pydicom's `Dataset` where the file is not plain.
        span: Where the pixel data lie; None for a file without pixel data.
        syntax: Transfer syntax UID; empty in a bare dataset, which is native.
        little_endian: Byte order of native pixels.
        sop_class_uid: SOP Class UID, from the file meta information where the dataset's is blank.
        sop_instance_uid: SOP Instance UID, likewise.
    """

    path: Path
    header: Header
    span: PixelSpan | None
    syntax: str
    little_endian: bool
    sop_class_uid: str
    sop_instance_uid: str

    @property
    def is_deflated(self) -> bool:
        """Whether offsets count in what the file inflates to."""
        return self.syntax == _DEFLATED


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from quoting values of the file in warnings and log lines."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def has_dicom_magic(head: bytes) -> bool:
    """Whether the first 132 bytes are a preamble and `DICM` (PS3.10 section 7.1)."""
    return head[128:132] == b"DICM"


def may_be_dicom(head: bytes) -> bool:
    """Whether the first bytes allow DICOM: `DICM` at 128, or a bare dataset that starts with group 0002 or 0008."""
    return has_dicom_magic(head) or (len(head) >= 8 and head[:2] in _BARE_STARTS)


def open_file(path: Path, *, size: int | None = None, head: bytes | None = None) -> DicomFile:
    """Open a DICOM file: read its header, and find the pixel data behind it.

    Args:
        path: The file.
        size: Its size, where the caller knows it.
        head: Its first `HEAD_BYTES`, where the caller has read them.

    Raises:
        UnreadableFileError: `NOT_DICOM`, `TRUNCATED_FILE` or `UNREADABLE_FILE`. The message holds no path: the caller
            knows it best.
    """
    try:
        if head is None:
            head = read_at(path, HEAD_BYTES, 0)
        if size is None:
            size = path.stat().st_size
        source = FileBytes(path, size, head)
        return _plain_file(PlainHeader(source, walk(source)))
    except NotPlainError:
        return _unusual_file(path)
    except READ_ERRORS as error:
        raise UnreadableFileError(f"cannot be read ({type(error).__name__})") from error


def read_header(path: Path, tags: Sequence[str] | None = None) -> tuple[FileDataset, PixelSpan | None]:
    """Read a DICOM header with pydicom, and find the pixel data behind it; None for a file without pixel data.

    Args:
        path: The file.
        tags: Elements to read, or None for all.

    Raises:
        UnreadableFileError: As `open_file`.
    """
    try:
        with open_bounded(path) as file, quiet():
            head = file.read(HEAD_BYTES)
            if not may_be_dicom(head):
                raise UnreadableFileError("is no DICOM file", reason="NOT_DICOM")
            deflated = is_deflated(head)
            source = _inflated(file, _DEFLATED_HEADER_BYTES) if deflated else cast(BinaryIO, file)
            source.seek(0)
            dataset = pydicom.dcmread(
                source, stop_before_pixels=True, force=True, specific_tags=list(tags) if tags is not None else None
            )
            span = _find_pixels(source, dataset)
    except (*READ_ERRORS, NotPlainError, MemoryError) as error:
        raise UnreadableFileError(f"breaks off or breaks DICOM's rules ({type(error).__name__})") from error
    if deflated:
        dataset.file_meta.TransferSyntaxUID = UID(_DEFLATED)
        if span is None and source.seek(0, os.SEEK_END) > _DEFLATED_HEADER_BYTES:
            raise UnreadableFileError(f"inflates to a header of more than {_DEFLATED_HEADER_BYTES >> 20} MiB")
        span = span and span._replace(available=span.length or 0)
    return dataset, span


def transfer_syntax(dataset: FileDataset) -> UID | None:
    """The Transfer Syntax UID of the file's meta header, or None for a bare dataset."""
    meta = getattr(dataset, "file_meta", None)
    syntax = meta.get("TransferSyntaxUID") if meta is not None else None
    return UID(str(syntax)) if syntax else None


def is_deflated(head: bytes) -> bool:
    """Whether the meta header in a file's first bytes names the deflated transfer syntax."""
    return has_dicom_magic(head) and _DEFLATED.encode() in head[132:1024]


class BoundedFile(io.BufferedReader):
    """A file that is never asked for more than it holds, whatever lengths its content claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As `BufferedReader.read`, without taking memory for bytes that are not there."""
        if size is not None and size > 2**16:
            size = max(0, min(size, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def open_bounded(path: Path) -> BoundedFile:
    """Open a file for libraries that read what its content tells them to."""
    return BoundedFile(io.FileIO(path))


def inflate(path: Path, count: int) -> bytes:
    """The first `count` bytes of a deflated file (PS3.5 section A.5), with a meta header that says explicit VR.

    Fewer where it inflates to less.

    Raises:
        UnreadableFileError: Its content cannot be inflated.
    """
    try:
        with open_bounded(path) as file:
            return cast(io.BytesIO, _inflated(file, count)).getvalue()
    except (zlib.error, NotPlainError) as error:
        raise UnreadableFileError(f"cannot be inflated ({type(error).__name__})") from error


def _inflated(file: BoundedFile, count: int) -> BinaryIO:
    file.seek(0)
    content = file.read()
    start = dataset_start(content[:HEAD_BYTES])
    meta = content[:start].replace(_DEFLATED.encode(), b"1.2.840.10008.1.2.1\0\0\0")
    return io.BytesIO(meta + zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[start:], max(1, count - start)))


def _plain_file(header: PlainHeader) -> DicomFile:
    span = None
    if header.layout.pixels is not None:
        tag, offset, length = header.layout.pixels
        span = PixelSpan(offset, length, header.source.size - offset, 0x7FE00000 | tag[2])
    return DicomFile(
        header.source.path,
        header,
        span,
        header.layout.syntax,
        True,
        _uid(header, "SOPClassUID") or header.meta_uid(2),
        _uid(header, "SOPInstanceUID") or header.meta_uid(3),
    )


def _unusual_file(path: Path) -> DicomFile:
    dataset, span = read_header(path)
    meta = getattr(dataset, "file_meta", {})
    try:
        with quiet():
            return DicomFile(
                path,
                dataset,
                span,
                str(transfer_syntax(dataset) or ""),
                bool(dataset.original_encoding[1]),
                _uid(dataset, "SOPClassUID") or str(meta.get("MediaStorageSOPClassUID") or ""),
                _uid(dataset, "SOPInstanceUID") or str(meta.get("MediaStorageSOPInstanceUID") or ""),
            )
    except READ_ERRORS as error:
        raise UnreadableFileError(f"has a header that cannot be decoded ({type(error).__name__})") from error


def _uid(header: Header, keyword: str) -> str:
    value = header.get(keyword)
    return value if isinstance(value, str) else ""


def _find_pixels(file: BinaryIO, dataset: FileDataset) -> PixelSpan | None:
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(position)
    if position > size:
        raise UnreadableFileError("ends in the middle of its header", reason="TRUNCATED_FILE")
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    element = file.read(12)
    if len(element) < 8:
        return None
    group, number = struct.unpack(f"{order}HH", element[:4])
    tag = group << 16 | number
    if tag not in _PIXEL_TAGS:
        return None
    if implicit or element[4:6] not in (b"OB", b"OW", b"OF", b"OD", b"UN"):
        length, offset = struct.unpack(f"{order}L", element[4:8])[0], position + 8
    elif len(element) == 12:
        length, offset = struct.unpack(f"{order}L", element[8:12])[0], position + 12
    else:
        return PixelSpan(offset=size, length=1, available=0)
    return PixelSpan(offset, None if length == _UNDEFINED_LENGTH else length, size - offset, tag)
