"""Pixels of DICOM files -> stored values, native ones straight from the file, compressed ones through pydicom.

The size that a header announces is checked against the size of the file before any memory is taken.
Sources: PS3.5 section 8 (encoding of pixel data), PS3.3 section C.7.6.3.1 (image pixel description).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.files import READ_ERRORS, PixelSpan, quiet, transfer_syntax

_FREE_FRAME_BYTES = 64 * 2**20
_MOST_BYTES_PER_COMPRESSED_BYTE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """How one file stores its pixels.

    Args:
        path: The file.
        span: Where they lie.
        syntax: Transfer Syntax UID; None in a bare dataset, which is native.
        little_endian: Byte order of native pixels.
        shape: Rows, columns.
        n_frames: Number of Frames, at least 1.
        bits_allocated: Bits a pixel takes.
        bits_stored: Bits of it that count.
        signed: Whether they are two's complement.
        padding: Stored values from first to last that mean "no data" (Pixel Padding Value and Range Limit), or None.
    """

    path: Path
    span: PixelSpan
    syntax: UID | None
    little_endian: bool
    shape: tuple[int, int]
    n_frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    padding: tuple[int, int] | None

    @classmethod
    def read(cls, path: Path, dataset: FileDataset, span: PixelSpan | None) -> "PixelFormat":
        """Read the format of a file from its header.

        Raises:
            UnreadableSeriesError: `NO_PIXEL_DATA`, `TRUNCATED_FILE` or `DECODER_MISSING`.
        """
        if span is None:
            raise UnreadableSeriesError(f"file {path.name} has no pixel data", reason="NO_PIXEL_DATA")
        allocated = int(dataset.BitsAllocated)
        pixels = cls(
            path=path,
            span=span,
            syntax=transfer_syntax(dataset),
            little_endian=bool(dataset.original_encoding[1]),
            shape=(int(dataset.Rows), int(dataset.Columns)),
            n_frames=max(1, int(dataset.get("NumberOfFrames") or 1)),
            bits_allocated=allocated,
            bits_stored=int(dataset.get("BitsStored") or allocated),
            signed=bool(dataset.get("PixelRepresentation")),
            padding=_padding(dataset),
        )
        pixels._check_decoder()
        pixels._check_size()
        return pixels

    @property
    def is_native(self) -> bool:
        """Whether frames can be read as they lie in the file."""
        plain = self.syntax is None or not (self.syntax.is_compressed or self.syntax.is_deflated)
        return plain and self.little_endian and self.bits_allocated in (8, 16, 32) and self.span.length is not None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, uncompressed."""
        return self.shape[0] * self.shape[1] * self.bits_allocated // 8

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""
        return np.dtype(f"{'i' if self.signed else 'u'}{max(1, self.bits_allocated // 8)}")

    def frames(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Yield the stored values of the frames `indices` in that order, each `(rows, columns)`.

        Raises:
            UnreadableSeriesError: `PIXELS_UNDECODABLE`.
        """
        try:
            if self.is_native:
                for index in indices:
                    yield self._native_frame(index)
            else:
                with quiet():
                    dataset = pydicom.dcmread(self.path, force=True)
                    decoded = list(iter_pixels(dataset, indices=list(indices), raw=True))
                for frame in decoded:
                    if frame.shape != self.shape:
                        raise ValueError(f"decoded {frame.shape}, expected {self.shape}")
                    yield frame
        except READ_ERRORS as error:
            name = self.syntax.name if self.syntax else "native"
            raise UnreadableSeriesError(
                f"file {self.path.name}: its pixels ({name}) cannot be decoded ({type(error).__name__})",
                reason="PIXELS_UNDECODABLE",
            ) from error

    def padding_mask(self, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Where a frame of stored values holds padding; None for nowhere."""
        if self.padding is None:
            return None
        first, last = self.padding
        mask = (stored == first) if first == last else (stored >= first) & (stored <= last)
        return mask if mask.any() else None

    def used_bits(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Drop the bits above Bits Stored, which some scanners fill with overlays, and extend the sign."""
        spare = 8 * stored.dtype.itemsize - self.bits_stored
        if not self.is_native or spare <= 0:
            return stored
        return np.asarray(np.right_shift(np.left_shift(stored, spare), spare))

    def _native_frame(self, index: int) -> NDArray[Any]:
        rows, columns = self.shape
        offset = self.span.offset + index * self.frame_bytes
        return np.fromfile(self.path, self.dtype, rows * columns, offset=offset).reshape(rows, columns)

    def _check_size(self) -> None:
        if min(self.shape) < 1:
            raise UnreadableSeriesError(f"file {self.path.name} has an empty matrix", reason="INCONSISTENT_GEOMETRY")
        if self.span.length is None:
            backed = self.span.available * _MOST_BYTES_PER_COMPRESSED_BYTE
            if self.span.offset >= 0 and self.frame_bytes > max(_FREE_FRAME_BYTES, backed):
                raise self._too_short(self.frame_bytes, self.span.available)
            return
        announced = self.frame_bytes * self.n_frames
        held = min(self.span.length, self.span.available)
        if announced > held:
            raise self._too_short(announced, held)

    def _too_short(self, announced: int, held: int) -> UnreadableSeriesError:
        return UnreadableSeriesError(
            f"file {self.path.name} holds {held} bytes of pixel data, expected {announced} by its header; copy it anew",
            reason="TRUNCATED_FILE",
        )

    def _check_decoder(self) -> None:
        if self.syntax is None:
            return
        try:
            if not self.syntax.is_compressed or self.syntax.is_deflated:
                return
            decoder = get_decoder(self.syntax)
            missing = "" if decoder.is_available else "; ".join(decoder.missing_dependencies)
        except (NotImplementedError, ValueError):
            missing = "pydicom knows no decoder for it"
        if missing:
            raise UnreadableSeriesError(
                f"file {self.path.name} is compressed as {self.syntax.name}: {missing}", reason="DECODER_MISSING"
            )


def _padding(dataset: FileDataset) -> tuple[int, int] | None:
    """Padding values as stored, whatever sign their own element was written with."""
    value = dataset.get("PixelPaddingValue")
    if value is None or value == "":
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    bits = int(dataset.BitsAllocated)
    ends = [
        _as_stored(v, bits, bool(dataset.get("PixelRepresentation")))
        for v in (value, value if limit is None else limit)
    ]
    return min(ends), max(ends)


def _as_stored(value: Any, bits: int, signed: bool) -> int:
    number = int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value)
    number %= 1 << bits
    return number - (1 << bits) if signed and number >= 1 << (bits - 1) else number
