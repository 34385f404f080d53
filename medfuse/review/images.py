"""A volume as the viewer takes it: packed voxels, the affine that places them, and the windows that suit them."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Modality, Quantity, Volume

_GZIP_LEVEL = 3
_SAMPLED = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A range of values spread over the grey scale: its name, centre and width, in the volume's unit."""

    name: str
    level: float
    width: float


CT_WINDOWS = (
    Window(name="Soft tissue", level=40, width=400),
    Window(name="Lung", level=-600, width=1500),
    Window(name="Liver", level=90, width=150),
    Window(name="Bone", level=480, width=2500),
    Window(name="Brain", level=40, width=80),
    Window(name="Stroke", level=40, width=40),
)
"""OHIF v3's presets under its keys 1 to 5, HU (platform/core/src/defaults/windowLevelPresets.js); stroke is the 6th."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayImage:
    """What the viewer loads.

    Args:
        key: Hash of the content; equal images have equal keys.
        voxels: gzip of the voxels, i fastest, little-endian.
        data_type: `int16` or `float32`.
        shape: `(I, J, K)`.
        affine_ras: 4x4 index to RAS mm, row by row; RAS because the viewer is a NIfTI viewer.
        windows: Presets, the first is the one to open with.
        unit: `HU`, `SUV`, or empty for arbitrary units.
    """

    key: str
    voxels: bytes
    data_type: str
    shape: tuple[int, int, int]
    affine_ras: tuple[float, ...]
    windows: tuple[Window, ...]
    unit: str


def display_image(volume: Volume, modality: Modality) -> DisplayImage:
    """Pack a volume for the viewer at its own resolution.

    Whole numbers that fit are sent as int16, which halves what travels; anything else as float32. ISA-L packs: on a
    real CT it takes a quarter of zlib's time at level 1, and 4.5 % more room than zlib at level 6.
    """
    from isal import igzip

    voxels = _packed(volume.voxels)
    data = voxels.tobytes(order="F")
    affine = tuple(float(value) for value in volume.geometry.affine.to_ras().ravel())
    key = hashlib.blake2b(data, digest_size=16)
    key.update(repr((volume.geometry.shape, affine, str(voxels.dtype))).encode())
    return DisplayImage(
        key=key.hexdigest(),
        voxels=igzip.compress(data, compresslevel=_GZIP_LEVEL, mtime=0),
        data_type=voxels.dtype.name,
        shape=volume.geometry.shape,
        affine_ras=affine,
        windows=windows_of(volume, modality),
        unit="" if volume.quantity is Quantity.ARBITRARY else volume.quantity.value,
    )


def windows_of(volume: Volume, modality: Modality) -> tuple[Window, ...]:
    """The window presets for a volume: OHIF's for CT in HU, else two that its own values give."""
    if modality is Modality.CT and volume.quantity is Quantity.HOUNSFIELD:
        return CT_WINDOWS
    values = volume.voxels.ravel()[:: max(1, volume.voxels.size // _SAMPLED)]
    values = values[np.isfinite(values)]
    if not values.size:
        return (Window(name="Full", level=0.5, width=1.0),)
    low, high = np.percentile(values, (1, 99.5))
    automatic = _between("Auto", float(low), float(high))
    return automatic, _between("Full", float(values.min()), float(values.max()))


def _between(name: str, low: float, high: float) -> Window:
    return Window(name=name, level=(low + high) / 2, width=max(high - low, 1e-6 * max(abs(low), abs(high), 1.0)))


def _packed(voxels: NDArray[np.generic]) -> NDArray[np.generic]:
    with np.errstate(invalid="ignore"):  # what does not fit is found by comparing
        whole = voxels.astype("<i2")
    if np.array_equal(whole, voxels):
        return whole
    numbers = np.nan_to_num(np.asarray(voxels, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return numbers.astype("<f4")
