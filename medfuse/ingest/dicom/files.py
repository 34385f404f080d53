"""Open DICOM files that may be anything: without suffix, without preamble, cut off, or not DICOM at all.

pydicom reads what it can and says little: a header that ends in the middle of a value comes back as a dataset
with that value cut. `read_header` therefore also finds where the pixel data lie, which tells a whole file from a
truncated one without reading a pixel.

Values are not validated while reading (names and identifiers would be quoted in warnings); what medfuse uses of a
header is checked where it is used.
"""

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import config
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from medfuse.errors import UnreadableFileError

READ_ERRORS = (
    InvalidDicomError,
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
_PIXEL_TAGS = {0x7FE00008: "float", 0x7FE00009: "double", 0x7FE00010: "integer"}
_BARE_STARTS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")


@dataclass(frozen=True, slots=True)
class PixelSpan:
    """Where a file's pixel data lie.

    Args:
        offset: Byte offset of the value in the file; -1 in a deflated file, where there is no such place.
        length: Bytes that the element announces; None for encapsulated (compressed) pixel data.
        available: Bytes from `offset` to the end of the file.
    """

    offset: int
    length: int | None
    available: int

    @property
    def is_cut(self) -> bool:
        """Whether the file ends before its pixel data do."""
        return self.length is not None and self.length > self.available


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


def read_header(path: Path, tags: Sequence[str] | None = None) -> tuple[FileDataset, PixelSpan | None]:
    """Read a DICOM header and find the pixel data behind it; None for a file without pixel data.

    Args:
        path: The file.
        tags: Elements to read, or None for all.

    Raises:
        UnreadableFileError: `NOT_DICOM` or `TRUNCATED_FILE`. The message holds no path: the caller knows it best.
    """
    try:
        with path.open("rb") as file, quiet():
            if not may_be_dicom(file.read(132)):
                raise UnreadableFileError("is no DICOM file", reason="NOT_DICOM")
            file.seek(0)
            dataset = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=list(tags) if tags is not None else None
            )
            return dataset, _find_pixels(file, path.stat().st_size, dataset)
    except READ_ERRORS as error:
        raise UnreadableFileError(f"breaks off or breaks DICOM's rules ({type(error).__name__})") from error


def transfer_syntax(dataset: FileDataset) -> UID | None:
    """The Transfer Syntax UID of the file's meta header, or None for a bare dataset."""
    meta = getattr(dataset, "file_meta", None)
    syntax = meta.get("TransferSyntaxUID") if meta is not None else None
    return UID(syntax) if syntax else None


def _find_pixels(file: BinaryIO, size: int, dataset: FileDataset) -> PixelSpan | None:
    if transfer_syntax(dataset) == DeflatedExplicitVRLittleEndian:
        return PixelSpan(offset=-1, length=None, available=0)
    position = file.tell()
    if position > size:
        raise UnreadableFileError("ends in the middle of its header", reason="TRUNCATED_FILE")
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    element = file.read(12)
    if len(element) < 8:
        return None
    group, number = struct.unpack(f"{order}HH", element[:4])
    if (group << 16 | number) not in _PIXEL_TAGS:
        return None
    if implicit or element[4:6] not in (b"OB", b"OW", b"OF", b"OD", b"UN"):
        length, offset = struct.unpack(f"{order}L", element[4:8])[0], position + 8
    elif len(element) == 12:
        length, offset = struct.unpack(f"{order}L", element[8:12])[0], position + 12
    else:
        return PixelSpan(offset=size, length=1, available=0)
    return PixelSpan(offset, None if length == _UNDEFINED_LENGTH else length, size - offset)
