"""Compressed frames -> stored values: imagecodecs where it has the codec, pydicom's plugins for everything else.

imagecodecs gives up the interpreter's lock while it decodes, so that threads use every core; pydicom's plugins do not.
A code stream says its own size: it is compared with the header's before a decoder takes any memory. Decoders give
frames of zeros instead of failing (SimpleITK issue 1636) and fill up a code stream that breaks off: a frame of zeros
whose code stream is not that of an empty frame is refused, as is a code stream without its end, and one of another
size. RLE says no size; its segments have to fill the header's.

Measured on CT with noise, MB/s of pixels and thread: JPEG lossless by libjpeg-turbo 360 (liblj92 210, libjpeg of
Oliver Collyer 140), JPEG-LS by CharLS 131, JPEG 2000 by OpenJPEG 21, HTJ2K by OpenJPEG 240, RLE 1,800. OpenJPH decodes
HTJ2K twice as fast and crashes on broken code streams, as gdcm does on several kinds: neither is used.

Sources: DICOM PS3.5 annex A.4 (encapsulation) and annex G (RLE); ITU-T T.81 B.2.2 (frame header), T.87 C.2.2,
T.800 A.5.1 (SIZ marker).
"""

import re
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.files import READ_ERRORS

RLE_LOSSLESS = "1.2.840.10008.1.2.5"
_JPEG = "1.2.840.10008.1.2.4."
_CODECS = {
    RLE_LOSSLESS: "DICOMRLE",
    **dict.fromkeys((f"{_JPEG}57", f"{_JPEG}70"), "JPEG8"),
    **dict.fromkeys((f"{_JPEG}80", f"{_JPEG}81"), "JPEGLS"),
    **dict.fromkeys((f"{_JPEG}90", f"{_JPEG}91"), "JPEG2K"),
    **dict.fromkeys((f"{_JPEG}201", f"{_JPEG}202", f"{_JPEG}203"), "JPEG2K"),
}
_LOSSY_JPEG = (f"{_JPEG}50", f"{_JPEG}51")
_PLUGINS = {RLE_LOSSLESS: "pydicom", **dict.fromkeys((*(_CODECS.keys() - {RLE_LOSSLESS}), *_LOSSY_JPEG), "pylibjpeg")}
"""Which of pydicom's plugins decodes what imagecodecs does not; never gdcm or pylibjpeg-rle, which end the whole
process on some broken code streams."""

_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_FRAME_MARKER = re.compile(b"\xff[" + b"".join(b"\\x%02x" % marker for marker in sorted(_START_OF_FRAME)) + b"]")
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


class FrameFormat(NamedTuple):
    """What a header says of each of its frames.

    Args:
        syntax: Transfer syntax UID.
        shape: Rows, columns.
        bits_allocated: Bits a pixel takes.
        bits_stored: Bits of it that count.
        signed: Whether they are two's complement.
    """

    syntax: str
    shape: tuple[int, int]
    bits_allocated: int
    bits_stored: int
    signed: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""
        return np.dtype(f"{'i' if self.signed else 'u'}{max(1, self.bits_allocated // 8)}")


class StreamFormat(NamedTuple):
    """What a code stream says of itself: its size, components, and bits a value."""

    shape: tuple[int, int]
    components: int
    precision: int
    signed: bool


def decoder_names(syntax: str) -> tuple[str, ...]:
    """The decoders of a transfer syntax that are installed here and used, the first one first."""
    codec = _CODECS.get(syntax)
    first = (f"imagecodecs {codec}",) if codec is not None and _imagecodecs(codec) is not None else ()
    plugin = _PLUGINS.get(syntax)
    second = (plugin,) if plugin is not None and plugin in get_decoder(UID(syntax)).available_plugins else ()
    return (*first, *second)


def missing_decoder(syntax: str) -> str:
    """What to do where a transfer syntax has no decoder here; empty where it has one."""
    if decoder_names(syntax):
        return ""
    name = UID(syntax).name
    if syntax not in _PLUGINS:
        return f"it is compressed as {name}, for which there is no decoder; decompress it first"
    package = "imagecodecs" if syntax in _CODECS else "pylibjpeg pylibjpeg-libjpeg"
    return f"it is compressed as {name} and no decoder is installed; python3 -m pip install {package}"


def decode_frame(stream: bytes, frame: FrameFormat) -> NDArray[Any]:
    """Decode one frame.

    Args:
        stream: Its code stream.
        frame: What the header says of it.

    Returns:
        Stored values, shape `frame.shape`, with the sign that the header says.

    Raises:
        UnreadableSeriesError: `PIXELS_UNDECODABLE`: no decoder can, or what it gives is of another size, or empty where
            it cannot be. The detail does not name the file.
    """
    codec = _CODECS.get(frame.syntax)
    said = None if frame.syntax == RLE_LOSSLESS else _checked_format(stream, frame)
    fast = None if codec is None else _imagecodecs(codec)
    stored, failure = None, ""
    if fast is not None:
        try:
            stored = _fitting(fast(stream, frame), frame)
        except (*READ_ERRORS, MemoryError, imagecodecs.DelayedImportError) as error:
            failure = f"imagecodecs {codec}: {type(error).__name__}"
    if stored is None or not stored.any():
        stored = _second_opinion(stream, frame, stored, failure)
    return _signed(stored, frame, said)


def stream_format(stream: bytes) -> StreamFormat | None:
    """What a JPEG, JPEG-LS or JPEG 2000 code stream says of itself; None where it says nothing."""
    try:
        if stream[:4] == b"\xff\x4f\xff\x51" or stream[4:8] == b"jP  ":
            return _jpeg2000_format(stream)
        return _jpeg_format(stream)
    except (struct.error, IndexError):
        return None


def _checked_format(stream: bytes, frame: FrameFormat) -> StreamFormat:
    said = stream_format(stream)
    if said is None:
        raise _undecodable(frame, "it holds no code stream")
    if not stream.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
        raise _undecodable(frame, "its code stream breaks off; copy the file anew")
    if said.shape != frame.shape or said.components != 1:
        rows, columns = said.shape
        raise _undecodable(
            frame,
            f"its code stream is {rows} x {columns} with {said.components} component(s), "
            f"expected {frame.shape[0]} x {frame.shape[1]} with 1",
        )
    return said


def _jpeg_format(stream: bytes) -> StreamFormat | None:
    """The one frame header of a JPEG or JPEG-LS stream; decoders believe the last of several."""
    if stream[:2] != b"\xff\xd8":
        return None
    found: StreamFormat | None = None
    at = 2
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            return None
        marker = stream[at + 1]
        if marker in _START_OF_FRAME:
            precision, rows, columns, components = struct.unpack_from(">BHHB", stream, at + 4)
            if found is not None:
                return None
            found = StreamFormat((rows, columns), components, precision, signed=False)
        elif marker == _START_OF_SCAN:
            return None if _FRAME_MARKER.search(stream, at) else found
        if marker == 0xFF:
            at += 1
        elif marker in _NO_LENGTH:
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(stream[at + 2 : at + 4], "big"))
    return found


def _jpeg2000_format(stream: bytes) -> StreamFormat | None:
    at = stream.find(b"\xff\x4f\xff\x51", 0, 2**16)
    if at < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", stream, at + 8)
    components, bits = struct.unpack_from(">HB", stream, at + 40)
    return StreamFormat((bottom - top, right - left), components, (bits & 0x7F) + 1, signed=bool(bits & 0x80))


def _second_opinion(stream: bytes, frame: FrameFormat, first: NDArray[Any] | None, failure: str) -> NDArray[Any]:
    """Decode with pydicom what imagecodecs cannot, or gave back as empty."""
    try:
        second = _fitting(_by_pydicom(stream, frame), frame)
    except (*READ_ERRORS, MemoryError) as error:
        if first is not None and _may_be_empty(stream, frame):
            return first
        failure = failure or f"pydicom: {type(error).__name__}"
        raise _undecodable(frame, f"{failure}; decoders here: {', '.join(decoder_names(frame.syntax))}") from error
    if first is not None and second.any():
        raise _undecodable(frame, f"imagecodecs {_CODECS[frame.syntax]} decodes it as all zero")
    if not second.any() and not _may_be_empty(stream, frame):
        raise _undecodable(frame, f"{len(stream)} bytes of code stream decode as all zero")
    return second


def _may_be_empty(stream: bytes, frame: FrameFormat) -> bool:
    """Whether a code stream is short enough for a frame of one value: no codec takes over a bit a pixel for it."""
    return len(stream) <= frame.shape[0] * frame.shape[1] // 8 + 2**12


def _by_pydicom(stream: bytes, frame: FrameFormat) -> NDArray[Any]:
    options: Any = {
        "rows": frame.shape[0],
        "columns": frame.shape[1],
        "samples_per_pixel": 1,
        "bits_allocated": frame.bits_allocated,
        "bits_stored": frame.bits_stored,
        "number_of_frames": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_representation": int(frame.signed),
        "pixel_keyword": "PixelData",
        "apply_jls_sign_correction": False,
        "apply_j2k_sign_correction": False,
    }
    decoded, _ = get_decoder(UID(frame.syntax)).as_array(
        encapsulate([stream]), index=0, raw=True, decoding_plugin=_PLUGINS[frame.syntax], **options
    )
    return np.asarray(decoded)


def _fitting(decoded: NDArray[Any], frame: FrameFormat) -> NDArray[Any]:
    if decoded.shape != frame.shape:
        raise _undecodable(frame, f"it decodes to {decoded.shape}, expected {frame.shape}")
    return decoded


def _signed(decoded: NDArray[Any], frame: FrameFormat, said: StreamFormat | None) -> NDArray[Any]:
    """The values in the header's type, their sign extended where the code stream does not know signs.

    The sign is the highest of Bits Stored. JPEG-LS and JPEG 2000 streams of fewer bits than that keep it in their own
    highest bit; one of more bits holds Bits Stored of them that count.
    """
    size = decoded.dtype.itemsize
    stored = np.ascontiguousarray(decoded).view(f"{'i' if frame.signed else 'u'}{size}")
    if said is not None and said.signed == frame.signed:
        return stored
    precision = frame.bits_stored
    if said is not None and _CODECS.get(frame.syntax) in ("JPEGLS", "JPEG2K"):
        precision = min(precision, said.precision)
    spare = 8 * size - precision
    if spare <= 0:
        return stored
    if not stored.flags.writeable:
        stored = stored.copy()
    np.left_shift(stored, spare, out=stored)
    np.right_shift(stored, spare, out=stored)
    return stored


def _undecodable(frame: FrameFormat, detail: str) -> UnreadableSeriesError:
    return UnreadableSeriesError(
        f"its pixels ({UID(frame.syntax).name}) cannot be decoded: {detail}", reason="PIXELS_UNDECODABLE"
    )


@cache
def _imagecodecs(codec: str) -> Callable[[bytes, FrameFormat], NDArray[Any]] | None:
    """The decoder of imagecodecs, or None where this build of it has none."""
    if not getattr(imagecodecs, codec).available:
        return None
    decode = getattr(imagecodecs, f"{codec.lower()}_decode")
    if codec == "DICOMRLE":
        return lambda stream, frame: _decode_rle(decode, stream, frame)
    return lambda stream, frame: np.asarray(decode(stream))


def _decode_rle(decode: Callable[..., NDArray[Any]], stream: bytes, frame: FrameFormat) -> NDArray[Any]:
    n_segments = int.from_bytes(stream[:4], "little")
    dtype = np.dtype(f"<u{max(1, frame.bits_allocated // 8)}")
    if n_segments != dtype.itemsize:
        raise ValueError(f"{n_segments} segments, expected {dtype.itemsize}")
    out = np.zeros(frame.shape[0] * frame.shape[1] * dtype.itemsize, np.uint8)
    if len(decode(stream, dtype, out=out)) != out.size:
        raise ValueError("the segments end before the frame does")
    return out.view(dtype).reshape(frame.shape)
