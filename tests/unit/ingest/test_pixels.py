"""Pixels: every way of storing them gives the same values, on any number of threads; what is broken is refused."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_fragments, generate_frames
from pydicom.uid import (
    HTJ2K,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom import decode, pixels
from medfuse.ingest.dicom.files import open_file
from medfuse.ingest.dicom.pixels import FrameRequest, PixelFormat, read_frames_into
from tests.unit.ingest.made_dicom import image, save

NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
ENCODERS: dict[str, Callable[[NDArray[Any], int], bytes]] = {
    JPEGLossless: lambda plane, bits: imagecodecs.jpeg8_encode(plane, lossless=True, predictor=4, bitspersample=bits),
    JPEGLosslessSV1: lambda plane, bits: imagecodecs.jpeg8_encode(plane, lossless=True, bitspersample=bits),
    JPEGLSLossless: lambda plane, bits: imagecodecs.jpegls_encode(plane),
    JPEG2000Lossless: lambda plane, bits: imagecodecs.jpeg2k_encode(
        plane, level=0, codecformat="j2k", reversible=True, bitspersample=bits
    ),
    HTJ2KLossless: lambda plane, bits: imagecodecs.htj2k_encode(plane, reversible=True),
}
DECODED = [*ENCODERS, RLELossless]


def planes(n: int = 3, *, bits: int = 12, signed: bool = False, shape: tuple[int, int] = (20, 24)) -> NDArray[Any]:
    """Frames `(n, rows, columns)` of values that fill their bits."""
    rng = np.random.default_rng(bits)
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    size = 1 if bits <= 8 else 2 if bits <= 16 else 4
    return rng.integers(low, high, (n, *shape)).astype(f"{'i' if signed else 'u'}{size}")


def describe(frames: NDArray[Any], bits: int, **tags: Any) -> Dataset:
    allocated = frames.dtype.itemsize * 8
    return image(
        **{
            "Rows": frames.shape[1],
            "Columns": frames.shape[2],
            "BitsAllocated": allocated,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": int(frames.dtype.kind == "i"),
            "NumberOfFrames": len(frames),
            **tags,
        }
    )


def write(path: Path, frames: NDArray[Any], syntax: str, bits: int, **tags: Any) -> Path:
    dataset = describe(frames, bits, **tags)
    if syntax in ENCODERS:
        unsigned = frames.view(frames.dtype.str.replace("i", "u")) & ((1 << bits) - 1)
        return write_streams(path, dataset, [ENCODERS[syntax](plane, bits) for plane in unsigned], syntax)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    data = frames.astype(frames.dtype.newbyteorder(order)).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if frames.dtype.itemsize == 1 and syntax != ImplicitVRLittleEndian else "OW"
    return save(dataset, path, syntax=syntax)


def write_streams(path: Path, dataset: Dataset, streams: list[bytes], syntax: str, **how: Any) -> Path:
    dataset.PixelData = encapsulate([bytes(stream) for stream in streams], **how)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def change(path: Path, **tags: Any) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def read(path: Path, **how: Any) -> NDArray[np.float32]:
    form = PixelFormat.of(open_file(path))
    out = np.full((form.n_frames, *form.shape), np.nan, np.float32)
    read_frames_into(out, [FrameRequest(form, index, **how) for index in range(form.n_frames)])
    return out


def refusal(path: Path) -> UnreadableSeriesError:
    with pytest.raises(UnreadableSeriesError) as caught:
        read(path)
    assert path.name in caught.value.detail
    return caught.value


@pytest.mark.parametrize("syntax", [*NATIVE, *DECODED])
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True), (16, False), (16, True)])
def test_every_syntax_gives_the_same_values(tmp_path: Path, syntax: str, bits: int, signed: bool) -> None:
    frames = planes(bits=bits, signed=signed)
    path = write(tmp_path / "x", frames, syntax, bits)
    np.testing.assert_array_equal(read(path), frames)
    assert PixelFormat.of(open_file(path)).n_frames == 3


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_does_not_matter(tmp_path: Path, monkeypatch, syntax: str, threads: int) -> None:
    frames = planes(7)
    monkeypatch.setattr(pixels, "usable_cores", lambda: threads)
    np.testing.assert_array_equal(read(write(tmp_path / "x", frames, syntax, 12)), frames)


@pytest.mark.parametrize("how", [{"has_bot": True}, {"has_bot": False}, {"fragments_per_frame": 3}])
def test_frames_in_fragments(tmp_path: Path, how: dict[str, Any]) -> None:
    frames = planes(4)
    streams = [ENCODERS[JPEGLosslessSV1](plane, 12) for plane in frames]
    path = write_streams(tmp_path / "x", describe(frames, 12), streams, JPEGLosslessSV1, **how)
    np.testing.assert_array_equal(read(path), frames)


def test_one_frame_in_many_fragments(tmp_path: Path) -> None:
    (plane,) = frames = planes(1)
    dataset = describe(frames, 12, NumberOfFrames=None)
    stream = ENCODERS[JPEG2000Lossless](plane, 12)
    path = write_streams(tmp_path / "x", dataset, [stream], JPEG2000Lossless, fragments_per_frame=5, has_bot=False)
    assert len(list(generate_fragments(pydicom.dcmread(path).PixelData))) == 6
    np.testing.assert_array_equal(read(path), frames)


def test_thirty_two_bits_stay_exact(tmp_path: Path) -> None:
    frames = np.array([[[2**31 - 1, -(2**31)], [16777217, 3]]], np.int32)
    values = read(write(tmp_path / "x", frames, ExplicitVRLittleEndian, 32), slope=0.25, intercept=-1)
    np.testing.assert_array_equal(values, (frames * 0.25 - 1).astype(np.float32))


def test_slope_intercept_padding_and_lut(tmp_path: Path) -> None:
    frames = planes(2, bits=16, signed=True)
    frames[1, 0, :3] = -2000
    path = write(tmp_path / "x", frames, ExplicitVRLittleEndian, 16, PixelPaddingValue=-2000)
    form = PixelFormat.of(open_file(path))
    out = np.empty((2, *form.shape), np.float32)
    requests = [FrameRequest(form, n, 2.5, -10, fill=-1024) for n in range(2)]
    n_padded = int((frames == -2000).any(axis=(1, 2)).sum())
    assert read_frames_into(out, requests) == n_padded
    expected = np.where(frames == -2000, -1024, frames.astype(np.float32) * np.float32(2.5) - 10)
    np.testing.assert_array_equal(out, expected)
    doubled = read(path, lut=lambda stored: stored.astype(np.float64) * 2, fill=7)
    np.testing.assert_array_equal(doubled, np.where(frames == -2000, 7, frames.astype(np.float32) * 2))


@pytest.mark.parametrize("syntax", [*NATIVE[:3], RLELossless])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_that_do_not_count_are_dropped(tmp_path: Path, syntax: str, signed: bool) -> None:
    frames = planes(2, bits=12, signed=signed)
    above = frames.view("u2") & 0xFFF | 0xA000
    path = write(tmp_path / "x", above.view(frames.dtype), syntax, 12)
    np.testing.assert_array_equal(read(path), frames)


def test_bits_at_the_upper_end_are_shifted_down(tmp_path: Path) -> None:
    frames = planes(2, bits=12)
    path = write(tmp_path / "x", (frames << 4) | 0x5, ExplicitVRLittleEndian, 12, HighBit=15)
    np.testing.assert_array_equal(read(path), frames)
    compressed = write(tmp_path / "y", frames, JPEGLSLossless, 12, HighBit=15)
    assert refusal(compressed).reason == "PIXELS_UNDECODABLE"


def test_lossy_jpeg_is_as_pydicom_decodes_it(tmp_path: Path) -> None:
    frames = planes(1, bits=8)
    stream = imagecodecs.jpeg8_encode(frames[0], level=90)
    path = write_streams(tmp_path / "x", describe(frames, 8), [stream], JPEGBaseline8Bit)
    dataset = pydicom.dcmread(path)
    dataset.pixel_array_options(decoding_plugin="pylibjpeg")
    np.testing.assert_array_equal(read(path)[0], dataset.pixel_array)


@pytest.mark.parametrize("left", [0, 1, 100, 0.5, 0.99])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, *DECODED])
def test_cut_pixels_are_refused(tmp_path: Path, syntax: str, left: float) -> None:
    path = write(tmp_path / "x", planes(1), syntax, 12)
    data = path.read_bytes()
    start = data.find(b"\xe0\x7f\x10\x00") if syntax != DeflatedExplicitVRLittleEndian else len(data) // 2
    kept = start + 20 + int(left if left >= 1 else left * (len(data) - start - 20))
    path.write_bytes(data[: min(kept, len(data) - 12)])
    with pytest.raises((UnreadableSeriesError, pixels.UnreadableFileError)) as caught:
        read(path)
    assert caught.value.reason in {"TRUNCATED_FILE", "PIXELS_UNDECODABLE", "NO_PIXEL_DATA", "UNREADABLE_FILE"}


@pytest.mark.parametrize("syntax", DECODED)
def test_a_stream_of_another_size_is_refused(tmp_path: Path, syntax: str) -> None:
    path = write(tmp_path / "x", planes(1, shape=(16, 24)), syntax, 12)
    change(path, Rows=20)
    assert refusal(path).reason == "PIXELS_UNDECODABLE"


def test_the_last_of_two_frame_headers_is_not_believed(tmp_path: Path) -> None:
    frames = planes(1)
    stream = bytes(ENCODERS[JPEGLosslessSV1](frames[0], 12))
    at = stream.index(b"\xff\xc3")
    length = 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    other = bytearray(stream[at : at + length])
    other[5:9] = b"\xff\xff\xff\xff"
    for place in (at + length, len(stream) - 2):
        path = write_streams(
            tmp_path / "x", describe(frames, 12), [stream[:place] + other + stream[place:]], JPEGLosslessSV1
        )
        assert refusal(path).reason == "PIXELS_UNDECODABLE"


def test_a_decoder_that_gives_zeros_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = planes(2)
    path = write(tmp_path / "x", frames, JPEGLSLossless, 12)
    monkeypatch.setattr(decode, "_imagecodecs", lambda codec: lambda stream, frame: np.zeros(frame.shape, np.uint16))
    error = refusal(path)
    assert error.reason == "PIXELS_UNDECODABLE"
    assert "JPEGLS" in error.detail


@pytest.mark.parametrize("syntax", DECODED)
def test_an_empty_frame_among_others_is_no_mistake(tmp_path: Path, syntax: str) -> None:
    frames = planes(3)
    frames[1] = 0
    np.testing.assert_array_equal(read(write(tmp_path / "x", frames, syntax, 12)), frames)


def test_nothing_but_empty_frames_is_refused(tmp_path: Path) -> None:
    assert refusal_of_series(write(tmp_path / "x", planes(3) * 0, JPEGLSLossless, 12)) == "PIXELS_UNDECODABLE"


def refusal_of_series(path: Path) -> str:
    with pytest.raises(UnreadableSeriesError) as caught:
        read(path)
    return caught.value.reason


def test_a_missing_decoder_is_named_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x", planes(1), JPEGLSLossless, 12)
    monkeypatch.setattr(decode, "_imagecodecs", lambda codec: None)
    monkeypatch.setattr(decode, "_PLUGINS", {JPEGLSLossless: "no-such-plugin"})
    error = refusal(path)
    assert error.reason == "DECODER_MISSING"
    assert "JPEG-LS" in error.detail
    assert "pip install imagecodecs" in error.detail


def test_a_syntax_that_nobody_decodes_is_refused(tmp_path: Path) -> None:
    frames = planes(1)
    path = write_streams(tmp_path / "x", describe(frames, 12), [b"\0" * 100], "1.2.840.10008.1.2.4.100")
    error = refusal(path)
    assert error.reason == "DECODER_MISSING"
    assert "decompress it first" in error.detail


def test_the_second_opinion_decodes_what_the_first_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(stream: bytes, frame: object) -> NDArray[Any]:
        raise RuntimeError("broken")

    monkeypatch.setattr(decode, "_imagecodecs", lambda codec: broken)
    for syntax in (RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless):
        frames = planes(2, signed=syntax == JPEGLSLossless)
        np.testing.assert_array_equal(read(write(tmp_path / syntax, frames, syntax, 12)), frames)


@pytest.mark.parametrize(
    "tags",
    [
        {"Rows": 60_000, "Columns": 60_000},
        {"NumberOfFrames": 2**31 - 1},
        {"Rows": 0},
        {"BitsAllocated": 12},
        {"BitsAllocated": 64},
        {"BitsStored": 17},
        {"BitsStored": 0, "HighBit": 3},
        {"HighBit": 3},
        {"HighBit": 40},
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, *DECODED])
def test_what_cannot_be_is_refused_before_memory_is_taken(tmp_path: Path, syntax: str, tags: dict[str, int]) -> None:
    path = write(tmp_path / "x", planes(1), syntax, 12)
    change(path, **tags)
    open_file(path)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableSeriesError) as caught:
            PixelFormat.of(open_file(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000
    assert caught.value.reason in {"TRUNCATED_FILE", "PIXELS_UNDECODABLE", "INCONSISTENT_GEOMETRY"}


@pytest.mark.realdata
@pytest.mark.parametrize(
    "pattern", ["ct-dicom/series/*", "dicom-oracle/dicom2nifti/**/*.dcm", "hippocampus/dicom/00?/mr/*"]
)
def test_real_pixels_are_as_pydicom_decodes_them(shared_data: Path, pattern: str) -> None:
    from medfuse.ingest.dicom.files import quiet

    paths = sorted(path for path in shared_data.glob(pattern) if path.is_file())
    n_read = 0
    for path in paths[:: 1 + len(paths) // 60]:
        file = open_file(path)
        if file.span is None or (file.header.get("SamplesPerPixel") or 1) != 1:
            continue
        with quiet():
            dataset = pydicom.dcmread(path)
            theirs = dataset.pixel_array
        np.testing.assert_array_equal(read(path).reshape(theirs.shape), theirs, err_msg=path.name)
        n_read += 1
    assert n_read > 5


def test_the_codecs_are_those_that_broken_streams_cannot_bring_down() -> None:
    names = {name for syntax in (*DECODED, HTJ2K, JPEGBaseline8Bit) for name in decode.decoder_names(syntax)}
    assert not [name for name in names if "gdcm" in name or "HTJ2K" in name]
    assert decode.decoder_names(RLELossless)[-1] == "pydicom"
    assert list(generate_frames(encapsulate([b"ab"]), number_of_frames=1)) == [b"ab"]
