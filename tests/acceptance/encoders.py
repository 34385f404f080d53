"""Compressed copies of made files, for every transfer syntax that an image may come in.

gdcm encodes JPEG and lossless JPEG-LS, imagecodecs the rest; RLE is written here.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.dicom_cases import save

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LOSSLESS = (
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
)
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)

_GDCM = {
    JPEGBaseline8Bit: "JPEGBaselineProcess1",
    JPEGLossless: "JPEGLosslessProcess14",
    JPEGLosslessSV1: "JPEGLosslessProcess14_1",
    JPEGLSLossless: "JPEGLSLossless",
}


def planes_of(dataset: Dataset) -> list[NDArray[Any]]:
    """The native little endian frames of a dataset, each `(rows, columns)`."""
    dtype = f"<{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}"
    count = int(dataset.get("NumberOfFrames") or 1)
    values = np.frombuffer(dataset.PixelData, dtype, count * dataset.Rows * dataset.Columns)
    return list(values.reshape(count, dataset.Rows, dataset.Columns))


def save_compressed(dataset: Dataset, path: Path, syntax: str) -> Path:
    """Write a native dataset in a transfer syntax, compressed where that is."""
    if syntax in NATIVE:
        return save(dataset, path, syntax=syntax)
    if syntax in _GDCM:
        return _save_by_gdcm(dataset, path, syntax)
    return save(dataset, path, syntax=syntax, fragments=[encode(plane, syntax) for plane in planes_of(dataset)])


def encode(plane: NDArray[Any], syntax: str) -> bytes:
    """Encode one plane `(rows, columns)`."""
    import imagecodecs

    if syntax == RLELossless:
        return _rle(plane)
    if syntax in (HTJ2KLossless, HTJ2KLosslessRPCL):
        return bytes(imagecodecs.htj2k_encode(plane, reversible=True))
    if syntax == HTJ2K:
        return bytes(imagecodecs.htj2k_encode(plane, level=1e-4, reversible=False))
    if syntax == JPEG2000Lossless:
        return bytes(imagecodecs.jpeg2k_encode(plane, codecformat="j2k", reversible=True))
    if syntax == JPEG2000:
        return bytes(imagecodecs.jpeg2k_encode(plane, level=100, codecformat="j2k", reversible=False))
    if syntax == JPEGExtended12Bit:
        return bytes(imagecodecs.jpeg_encode(plane, level=98, bitspersample=12))
    if syntax in (JPEGLSLossless, JPEGLSNearLossless):
        unsigned = np.ascontiguousarray(plane).view(f"u{plane.dtype.itemsize}")
        return bytes(imagecodecs.jpegls_encode(unsigned, level=2 if syntax == JPEGLSNearLossless else 0))
    raise ValueError(f"no encoder for {syntax}")


def _rle(plane: NDArray[Any]) -> bytes:
    """RLE of DICOM (PS3.5 annex G): one literal run after another, most significant bytes first."""
    width = plane.dtype.itemsize
    raw = np.ascontiguousarray(plane).view(np.uint8).reshape(*plane.shape, width)
    segments = []
    for byte in reversed(range(width)):
        coded = b""
        for row in raw[:, :, byte]:
            data = row.tobytes()
            for start in range(0, len(data), 128):
                part = data[start : start + 128]
                coded += bytes([len(part) - 1]) + part
        segments.append(coded + b"\0" * (len(coded) % 2))
    offsets = np.cumsum([64, *map(len, segments[:-1])])
    header = np.zeros(16, "<u4")
    header[0] = width
    header[1 : 1 + width] = offsets
    return header.tobytes() + b"".join(segments)


def _save_by_gdcm(dataset: Dataset, path: Path, syntax: str) -> Path:
    import gdcm

    native = save(dataset, path.with_name(path.name + ".native"))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(native))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, _GDCM[syntax])))
    change.SetInput(reader.GetImage())
    assert change.Change(), f"gdcm cannot encode {syntax}"
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    native.unlink()
    return path
