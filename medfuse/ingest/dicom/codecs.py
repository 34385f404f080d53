"""Which compressed DICOM can be read here: each transfer syntax, its plugins, and a sample really decoded.

The samples are small files that ship with pydicom. High-Throughput JPEG 2000 has none, so there pydicom's word is
taken on its plugins. Transfer syntaxes: DICOM PS3.5, section 10 and annex A; PS3.6, table A-1.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
        plugins: The libraries that can decode it here; pydicom itself reads what needs none.
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
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    decoder = get_decoder(uid)
    plugins = tuple(decoder.available_plugins)
    if not plugins and decoder.is_available:
        plugins = ("pydicom",)
    decoded = _decodes(sample) if sample and plugins else None
    return Codec(uid=uid, name=UID(uid).keyword, plugins=plugins, sample_decoded=decoded)


def _decodes(sample: str) -> bool | None:
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    path = get_testdata_file(sample, download=False)
    if not isinstance(path, str):
        return None
    try:
        return bool(dcmread(path).pixel_array.size)
    except (RuntimeError, ValueError, AttributeError, NotImplementedError, OSError):
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
