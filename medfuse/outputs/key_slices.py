"""Pictures of the slices that show a segment best: the source image with outlines drawn in the colours of the segments.

A picture has square pixels, is large enough to read, and says on its lower edge what it shows and that it is research.
Nothing in it names the patient or the study.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Quantity, Segmentation, Volume
from medfuse.outputs.colours import rgb_of
from medfuse.outputs.measurements import SegmentMeasurement, mask_in

STATEMENT = "RESEARCH USE ONLY - not for diagnosis"

_SHORTEST_SIDE = 512
_LONGEST_SIDE = 1024
_NARROWEST = 384
_LINE_HEIGHT = 20
_FONT_SIZE = 15
_WINDOWS_HU = {"lung": (-600.0, 1500.0), "soft tissue": (40.0, 400.0), "bone": (500.0, 2000.0)}
_LUNG_BELOW_HU, _BONE_ABOVE_HU = -300.0, 250.0
_SPREAD = (1.0, 99.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeySlice:
    """One picture.

    Args:
        segment: Whose best slice it is.
        k: The slice of the source grid.
        pixels: `uint8`, shape `(rows, columns, 3)`, RGB.
    """

    segment: SegmentMeasurement
    k: int
    pixels: NDArray[np.uint8]


def key_slices(
    segmentation: Segmentation, volume: Volume, measurements: tuple[SegmentMeasurement, ...]
) -> tuple[KeySlice, ...]:
    """The best slice of each segment that has a voxel, in the order of the segments.

    Args:
        segmentation: The label map.
        volume: The image that it lies on.
        measurements: Of its segments, in their order.

    Raises:
        ValueError: The image is on another grid.
    """
    if not volume.geometry.is_close(segmentation.geometry):
        raise ValueError("the image is on another grid than the label map")
    return tuple(
        KeySlice(segment=one, k=one.key_slice, pixels=_picture(segmentation, volume, one, one.key_slice))
        for one in measurements
        if one.key_slice is not None
    )


def _picture(segmentation: Segmentation, volume: Volume, segment: SegmentMeasurement, k: int) -> NDArray[np.uint8]:
    from PIL import Image

    plane = (slice(None), slice(None), slice(k, k + 1))
    grey = _windowed(volume.voxels[:, :, k].T, _window(volume, segment, k))
    size = _size(grey.shape, segmentation.geometry.affine.spacing_mm)
    image = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)
    pixels = np.repeat(np.asarray(image)[:, :, None], 3, axis=2)
    for number, one in enumerate(segmentation.segments, start=1):
        mask = mask_in(segmentation, one, plane)[:, :, 0].T
        if mask.any():
            large = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
            pixels[_outline(np.asarray(large) > 0)] = rgb_of(number)
    margin = max(0, _NARROWEST - size[0])
    pixels = np.pad(pixels, ((0, 0), (margin // 2, margin - margin // 2), (0, 0)))
    return np.concatenate([pixels, _caption(_words(segment, k), pixels.shape[1])])


def _size(shape: tuple[int, ...], spacing_mm: NDArray[np.float64]) -> tuple[int, int]:
    """Width and height of the picture: the slice's own proportions in mm, between the two limits."""
    extent_mm = np.array([shape[1] * spacing_mm[0], shape[0] * spacing_mm[1]])
    smallest = float(min(spacing_mm[:2]))
    scale = max(1.0 / smallest, _SHORTEST_SIDE / float(extent_mm.min()))
    scale = min(scale, _LONGEST_SIDE / float(extent_mm.max()))
    width, height = np.maximum(np.rint(extent_mm * scale), 1)
    return int(width), int(height)


def _window(volume: Volume, segment: SegmentMeasurement, k: int) -> tuple[float, float]:
    """Centre and width: for CT the usual one for what is inside the segment, else what the slice holds."""
    if volume.quantity is Quantity.HOUNSFIELD:
        mean = segment.mean if segment.mean is not None else 0.0
        name = "lung" if mean < _LUNG_BELOW_HU else "bone" if mean > _BONE_ABOVE_HU else "soft tissue"
        return _WINDOWS_HU[name]
    low, high = np.percentile(volume.voxels[:, :, k], _SPREAD)
    return float(low + high) / 2, max(float(high - low), 1e-6)


def _windowed(plane: NDArray[Any], window: tuple[float, float]) -> NDArray[np.uint8]:
    centre, width = window
    shares = (plane.astype(np.float32) - (centre - width / 2)) / width
    return np.ascontiguousarray((np.clip(shares, 0, 1) * 255).astype(np.uint8))


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_erosion

    return np.asarray(mask & ~binary_erosion(mask, iterations=2))


def _words(segment: SegmentMeasurement, k: int) -> list[str]:
    name = segment.name if segment.name.isascii() else f"segment {segment.number}"
    line = f"{name[:40]}: {segment.volume_mm3 / 1000:.2f} ml"
    if segment.axial_diameter_mm is not None:
        line += f", {segment.axial_diameter_mm:.1f} mm axial"
    return [line, f"slice {k + 1} (of the source grid) - medfuse", STATEMENT]


def _caption(lines: list[str], width: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, _LINE_HEIGHT * len(lines) + 6))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT_SIZE)
    for n, line in enumerate(lines):
        draw.text((6, 3 + n * _LINE_HEIGHT), line, fill=(255, 255, 255), font=font)
    return np.asarray(image)
