"""Pixels of DICOM files -> float32 planes, every core at work, with no more memory than the planes themselves.

Native frames are read straight into a small buffer that each thread keeps, and from there into their plane; compressed
ones go through `decode`. What a header announces is checked against the size of the file, and a code stream's own size
against the header's, before any memory is taken.

Sources: PS3.5 section 8 (encoding of pixel data) and annex A.4 (encapsulation); PS3.3 section C.7.6.3.1 (image pixel
description) and section C.7.5.1.1.2 (pixel padding).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames, get_frame
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID

from medfuse.errors import UnreadableFileError, UnreadableSeriesError
from medfuse.ingest.dicom.decode import RLE_LOSSLESS, FrameFormat, decode_frame, missing_decoder, stream_format
from medfuse.ingest.dicom.files import READ_ERRORS, DicomFile, PixelSpan, inflate, open_bounded, quiet
from medfuse.ingest.dicom.walk import read_at

_FREE_FRAME_BYTES = 64 * 2**20
_MOST_BYTES_PER_COMPRESSED_BYTE = 1000
_MOST_THREADS = 8
_STREAM_HEAD_BYTES = 4096
_FLOAT_TAGS = {0x7FE00008: "f4", 0x7FE00009: "f8"}
_NATIVE = frozenset({"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """How one file stores its pixels.

    Args:
        path: The file.
        span: Where they lie.
        syntax: Transfer syntax UID; empty in a bare dataset, which is native.
        little_endian: Byte order of native pixels.
        shape: Rows, columns.
        n_frames: Number of Frames, at least 1.
        bits_allocated: Bits a pixel takes.
        bits_stored: Bits of it that count.
        high_bit: The highest of these.
        signed: Whether they are two's complement.
        padding: Stored values from first to last that mean "no data" (Pixel Padding Value and Range Limit), or None.
    """

    path: Path
    span: PixelSpan
    syntax: str
    little_endian: bool
    shape: tuple[int, int]
    n_frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    padding: tuple[int, int] | None

    @classmethod
    def of(cls, file: DicomFile) -> "PixelFormat":
        """Read the format of a file from its header.

        Raises:
            UnreadableSeriesError: `NO_PIXEL_DATA`, `TRUNCATED_FILE`, `DECODER_MISSING`, `PIXELS_UNDECODABLE`,
                `UNREADABLE_HEADER` or `INCONSISTENT_GEOMETRY`.
        """
        if file.span is None:
            raise UnreadableSeriesError(f"file {file.path.name} has no pixel data", reason="NO_PIXEL_DATA")
        allocated = _whole(file, "BitsAllocated")
        stored = _whole(file, "BitsStored", allocated)
        signed = _whole(file, "PixelRepresentation", 0) == 1
        pixels = cls(
            path=file.path,
            span=file.span,
            syntax=file.syntax,
            little_endian=file.little_endian,
            shape=(_whole(file, "Rows"), _whole(file, "Columns")),
            n_frames=max(1, _whole(file, "NumberOfFrames", 1)),
            bits_allocated=allocated,
            bits_stored=stored,
            high_bit=_whole(file, "HighBit", stored - 1),
            signed=signed,
            padding=_padding(file, allocated, signed),
        )
        pixels._check()
        return pixels

    @property
    def is_native(self) -> bool:
        """Whether frames lie uncompressed in the file, or in what it inflates to."""
        return self.syntax in _NATIVE and self.span.length is not None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, uncompressed."""
        return (self.shape[0] * self.shape[1] * self.bits_allocated + 7) // 8

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values as they lie in the file."""
        kind = _FLOAT_TAGS.get(self.span.tag) or f"{'i' if self.signed else 'u'}{max(1, self.bits_allocated // 8)}"
        return np.dtype(f"{'<' if self.little_endian else '>'}{kind}")

    @property
    def frame(self) -> FrameFormat:
        """What a decoder has to know of each frame."""
        return FrameFormat(self.syntax, self.shape, self.bits_allocated, self.bits_stored, self.signed)

    def padding_mask(self, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Where a frame of stored values holds padding; None for nowhere."""
        if self.padding is None:
            return None
        first, last = self.padding
        mask = (stored == first) if first == last else (stored >= first) & (stored <= last)
        return mask if mask.any() else None

    def use_bits(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Keep the bits that count, in place: others may hold overlays. The sign is extended.

        Decoders of JPEG's family give nothing but these bits; native and RLE frames are whatever lies in the file.
        """
        above = self.bits_allocated - 1 - self.high_bit
        spare = self.bits_allocated - self.bits_stored
        if spare <= 0 or stored.dtype.kind == "f" or not (self.is_native or self.syntax == RLE_LOSSLESS):
            return stored
        if above:
            np.left_shift(stored, above, out=stored)
        np.right_shift(stored, spare, out=stored)
        return stored

    def _check(self) -> None:
        if min(self.shape) < 1:
            raise UnreadableSeriesError(f"file {self.path.name} has an empty matrix", reason="INCONSISTENT_GEOMETRY")
        low = self.high_bit + 1 - self.bits_stored
        bits = {0x7FE00008: (32,), 0x7FE00009: (64,)}.get(self.span.tag, (1, 8, 16, 32))
        if self.bits_allocated not in bits or not 1 <= self.bits_stored <= self.bits_allocated or low < 0:
            raise self._undecodable(
                f"bits allocated, stored and high bit are {self.bits_allocated}, {self.bits_stored}, {self.high_bit}"
            )
        if self.high_bit >= self.bits_allocated or (low and not self.is_native and self.syntax != RLE_LOSSLESS):
            raise self._undecodable(f"the high bit {self.high_bit} does not fit {self.bits_stored} bits stored")
        if self.is_native:
            self._check_native_size()
        else:
            self._check_compressed()

    def _check_native_size(self) -> None:
        announced = (self.shape[0] * self.shape[1] * self.n_frames * self.bits_allocated + 7) // 8
        held = min(self.span.length or 0, self.span.available)
        if announced > held:
            raise self._too_short(announced, held)

    def _check_compressed(self) -> None:
        missing = missing_decoder(self.syntax)
        if missing:
            raise UnreadableSeriesError(f"file {self.path.name}: {missing}", reason="DECODER_MISSING")
        if self.span.length is not None:
            raise self._undecodable("compressed pixels are not encapsulated")
        backed = self.span.available * _MOST_BYTES_PER_COMPRESSED_BYTE
        announced = self.frame_bytes * self.n_frames
        if announced > max(_FREE_FRAME_BYTES, backed):
            raise self._too_short(announced, self.span.available)
        said = stream_format(_first_stream(read_at(self.path, _STREAM_HEAD_BYTES, self.span.offset)))
        if said is not None and said.shape != self.shape:
            raise self._undecodable(
                f"its code stream is {said.shape[0]} x {said.shape[1]}, expected {self.shape[0]} x {self.shape[1]}"
            )

    def _too_short(self, announced: int, held: int) -> UnreadableSeriesError:
        return UnreadableSeriesError(
            f"file {self.path.name} holds {held} bytes of pixel data, expected {announced} by its header; copy it anew",
            reason="TRUNCATED_FILE",
        )

    def _undecodable(self, detail: str) -> UnreadableSeriesError:
        return UnreadableSeriesError(f"file {self.path.name}: {detail}", reason="PIXELS_UNDECODABLE")


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """One frame to read, and how its stored values become physical ones.

    Args:
        pixels: Its file.
        index: Its number within the file, from 0.
        slope: Rescale Slope.
        intercept: Rescale Intercept.
        fill: Value of its padding.
        lut: Takes stored values to physical ones, instead of slope and intercept (Modality LUT, PS3.3 C.11.1).
    """

    pixels: PixelFormat
    index: int = 0
    slope: float = 1.0
    intercept: float = 0.0
    fill: float = 0.0
    lut: Callable[[NDArray[Any]], NDArray[Any]] | None = None


def read_frames_into(planes: NDArray[np.float32], requests: Sequence[FrameRequest]) -> int:
    """Read frames into planes, on every core.

    Args:
        planes: Shape `(n, rows, columns)`; plane k is filled with the frame that request k asks for.
        requests: One a plane. Frames of one file are best side by side.

    Returns:
        The number of planes in which padding was replaced.

    Raises:
        UnreadableSeriesError: `PIXELS_UNDECODABLE` or `TRUNCATED_FILE`; the detail names the file.
    """
    n_threads = max(1, min(usable_cores(), _MOST_THREADS, len(requests)))
    bounds = [len(requests) * n // n_threads for n in range(n_threads + 1)]
    jobs = [range(bounds[n], bounds[n + 1]) for n in range(n_threads)]
    with quiet():
        if n_threads == 1:
            padded = [_read_some(planes, requests, job) for job in jobs]
        else:
            with ThreadPoolExecutor(n_threads) as pool:
                padded = list(pool.map(lambda job: _read_some(planes, requests, job), jobs))
    compressed = [k for k, request in enumerate(requests) if not request.pixels.is_native]
    if compressed and len(compressed) == len(requests) and not any(count[1] for count in padded):
        raise UnreadableSeriesError(
            f"its {len(requests)} compressed frames all decode as zero", reason="PIXELS_UNDECODABLE"
        )
    return sum(count[0] for count in padded)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_some(planes: NDArray[np.float32], requests: Sequence[FrameRequest], job: range) -> tuple[int, bool]:
    """Fill the planes of one thread; gives how many held padding, and whether any held a value other than zero."""
    padded, filled = 0, False
    reader: _Reader | None = None
    for k in job:
        pixels = requests[k].pixels
        try:
            if reader is None or reader.pixels is not pixels:
                reader = _Reader(pixels, None if reader is None else reader.buffer)
            stored = reader.frame(requests[k].index)
            filled = filled or bool(stored.any())
            padded += _fill(planes[k], stored, requests[k])
        except (UnreadableSeriesError, UnreadableFileError) as error:
            raise UnreadableSeriesError(f"file {pixels.path.name}: {error.detail}", reason=error.reason) from error
        except (*READ_ERRORS, MemoryError) as error:
            name = UID(pixels.syntax).name if pixels.syntax else "native"
            raise UnreadableSeriesError(
                f"file {pixels.path.name}: its pixels ({name}) cannot be decoded ({type(error).__name__})",
                reason="PIXELS_UNDECODABLE",
            ) from error
    return padded, filled


class _Reader:
    """Reads the frames of one file, one after the other."""

    def __init__(self, pixels: PixelFormat, buffer: NDArray[np.uint8] | None) -> None:
        self.pixels = pixels
        self.buffer = buffer
        self._content: bytes | None = None

    def frame(self, index: int) -> NDArray[Any]:
        """The stored values of a frame `(rows, columns)`, valid until the next one is read."""
        pixels = self.pixels
        if not pixels.is_native:
            return decode_frame(self._stream(index), pixels.frame)
        if pixels.bits_allocated == 1 or (pixels.bits_allocated == 8 and not pixels.little_endian):
            return _by_pydicom(pixels, index)
        start = pixels.span.offset + index * pixels.frame_bytes
        if self.buffer is None or self.buffer.size != pixels.frame_bytes:
            self.buffer = np.empty(pixels.frame_bytes, np.uint8)
        if pixels.syntax.endswith(".99"):
            if self._content is None:
                self._content = inflate(pixels.path, pixels.span.offset + (pixels.span.length or 0))
            held = self._content[start : start + pixels.frame_bytes]
            self.buffer[: len(held)] = np.frombuffer(held, np.uint8)
            n_read = len(held)
        else:
            with pixels.path.open("rb", buffering=0) as file:
                file.seek(start)
                n_read = file.readinto(self.buffer.data) or 0
        if n_read < pixels.frame_bytes:
            raise UnreadableFileError("ends in the middle of its pixels; copy it anew", reason="TRUNCATED_FILE")
        return self.buffer.view(pixels.dtype).reshape(pixels.shape)

    def _stream(self, index: int) -> bytes:
        pixels = self.pixels
        with open_bounded(pixels.path) as file:
            file.seek(pixels.span.offset)
            if pixels.n_frames == 1:
                return _joined(file.read())
            return bytes(get_frame(file, index, number_of_frames=pixels.n_frames))


def _joined(content: bytes) -> bytes:
    """The one code stream of encapsulated pixel data: all of its fragments."""
    try:
        return next(generate_frames(content, number_of_frames=1))
    except StopIteration as error:
        raise ValueError("no fragment") from error


def _first_stream(content: bytes) -> bytes:
    """What the first bytes of encapsulated pixel data hold of the first code stream."""
    table = int.from_bytes(content[4:8], "little")
    return content[8 + table + 8 :]


def _by_pydicom(pixels: PixelFormat, index: int) -> NDArray[Any]:
    with open_bounded(pixels.path) as file:
        dataset = pydicom.dcmread(file, force=True)
        decoded: Iterator[NDArray[Any]] = iter_pixels(dataset, indices=[index], raw=True)
        return np.array(next(decoded))


def _fill(plane: NDArray[np.float32], stored: NDArray[Any], request: FrameRequest) -> bool:
    """Turn stored values into physical ones; gives whether any of them were padding."""
    mask = request.pixels.padding_mask(stored)
    stored = request.pixels.use_bits(stored)
    if request.lut is not None:
        plane[...] = request.lut(stored)
    elif stored.dtype.itemsize > 2:
        plane[...] = stored * np.float64(request.slope) + np.float64(request.intercept)
    else:
        plane[...] = stored
        if request.slope != 1.0:
            np.multiply(plane, np.float32(request.slope), out=plane)
        if request.intercept:
            np.add(plane, np.float32(request.intercept), out=plane)
    if mask is not None:
        plane[mask] = request.fill
    return mask is not None


def _whole(file: DicomFile, keyword: str, default: int | None = None) -> int:
    try:
        value = file.header.get(keyword)
        if (value is None or value == "") and default is not None:
            return default
        return int(value)
    except READ_ERRORS as error:
        raise UnreadableSeriesError(
            f"file {file.path.name} has no number for {keyword}", reason="UNREADABLE_HEADER"
        ) from error


def _padding(file: DicomFile, bits: int, signed: bool) -> tuple[int, int] | None:
    """Padding values as stored, whatever sign their own element was written with; None without any."""
    try:
        value = file.header.get("PixelPaddingValue")
        if value is None or value == "":
            return None
        limit = file.header.get("PixelPaddingRangeLimit")
        ends = [_as_stored(v, bits, signed) for v in (value, value if limit is None or limit == "" else limit)]
    except READ_ERRORS as error:
        raise UnreadableSeriesError(
            f"file {file.path.name} has a Pixel Padding Value that is no number", reason="UNREADABLE_HEADER"
        ) from error
    return min(ends), max(ends)


def _as_stored(value: Any, bits: int, signed: bool) -> int:
    number = int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value)
    number %= 1 << bits
    return number - (1 << bits) if signed and number >= 1 << (bits - 1) else number
