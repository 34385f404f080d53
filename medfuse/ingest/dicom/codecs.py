"""Which compressed DICOM can be read here: each transfer syntax, its plugins, and a sample really decoded.

The samples are small files that ship with pydicom. High-Throughput JPEG 2000 has none, so there pydicom's word is
taken on the plugins. Transfer syntaxes: DICOM PS3.5, section 10 and annex A; PS3.6, table A-1.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medfuse.errors import StudyError

_SAMPLES = {
    "1.2.840.10008.1.2.1.99": "image_dfl.dcm",
    "1.2.840.10008.1.2.2": "SC_rgb_small_odd_big_endian.dcm",
    "1.2.840.10008.1.2.5": "SC_rgb_rle_16bit.dcm",
    "1.2.840.10008.1.2.4.50": "SC_rgb_small_odd_jpeg.dcm",
    "1.2.840.10008.1.2.4.51": "JPGExtended.dcm",
    "1.2.840.10008.1.2.4.57": None,
    "1.2.840.10008.1.2.4.70": "SC_rgb_jpeg_gdcm.dcm",
    "1.2.840.10008.1.2.4.80": "MR_small_jpeg_ls_lossless.dcm",
    "1.2.840.10008.1.2.4.81": "JPEGLSNearLossless_16.dcm",
    "1.2.840.10008.1.2.4.90": "MR_small_jp2klossless.dcm",
    "1.2.840.10008.1.2.4.91": "JPEG2000.dcm",
    "1.2.840.10008.1.2.4.201": None,
    "1.2.840.10008.1.2.4.202": None,
    "1.2.840.10008.1.2.4.203": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """What can be done with one transfer syntax.

    Args:
        uid: The transfer syntax UID.
        name: Its keyword in DICOM, e.g. `JPEG2000Lossless`.
        plugins: The libraries that decode it here, imagecodecs first; pydicom itself reads what needs none.
        sample_decoded: Whether a sample decoded; None where no sample ships with pydicom.
    """

    uid: str
    name: str
    plugins: tuple[str, ...]
    sample_decoded: bool | None

    @property
    def works(self) -> bool:
        """Whether series of this transfer syntax can be read."""
        return bool(self.plugins) and self.sample_decoded is not False


def codecs() -> tuple[Codec, ...]:
    """Every transfer syntax of compressed or unusual pixels, asked and tried; takes about a second."""
    with _quiet_pydicom():
        return tuple(_probe(uid, sample) for uid, sample in _SAMPLES.items())


def _probe(uid: str, sample: str | None) -> Codec:
    from pydicom.uid import UID

    from medfuse.ingest.dicom.decode import decoder_names

    syntax = UID(uid)
    compressed = syntax.is_compressed and not syntax.is_deflated
    plugins = decoder_names(uid) if compressed else ("pydicom",)
    decoded = _decodes(sample, plugins) if sample and plugins else None
    return Codec(uid=uid, name=syntax.keyword, plugins=plugins, sample_decoded=decoded)


def _decodes(sample: str, plugins: tuple[str, ...]) -> bool | None:
    """Decode a sample as medfuse does; colour ones, which medfuse leaves out, with the same plugin of pydicom."""
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    from medfuse.ingest.dicom.files import READ_ERRORS, open_file
    from medfuse.ingest.dicom.pixels import FrameRequest, PixelFormat, read_frames_into

    path = get_testdata_file(sample, download=False)
    if not isinstance(path, str):
        return None
    try:
        file = open_file(Path(path))
        if (file.header.get("SamplesPerPixel") or 1) == 1:
            pixels = PixelFormat.of(file)
            read_frames_into(np.empty((1, *pixels.shape), np.float32), [FrameRequest(pixels)])
            return True
        dataset = dcmread(path)
        if dataset.file_meta.TransferSyntaxUID.is_compressed and plugins[-1] in ("pydicom", "pylibjpeg"):
            dataset.pixel_array_options(decoding_plugin=plugins[-1])
        return bool(dataset.pixel_array.size)
    except (*READ_ERRORS, StudyError):
        return False


@contextmanager
def _quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's remarks on its own samples away from the terminal."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
