"""The slice that a reader sees at once, as a PNG: NiiVue needs seconds to unpack, orient and upload a large volume."""

import io
from dataclasses import dataclass

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray
from PIL import Image

from medfuse.review import Window

_SUPERIOR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSlice:
    """The middle axial slice in its window, as the viewer draws it: radiological, anterior on top.

    Args:
        png: 8 bit grey.
        size_mm: Width and height on the screen.
        number: Which slice from below, from 1.
        count: How many there are.
    """

    png: bytes
    size_mm: tuple[float, float]
    number: int
    count: int


def first_slice(voxels: NDArray[np.generic], affine_ras: NDArray[np.float64], window: Window) -> FirstSlice:
    """Draw the middle slice of a volume.

    Args:
        voxels: `(I, J, K)`, in any orientation; the plane nearest to axial is drawn, as NiiVue does.
        affine_ras: 4x4 index to RAS mm.
        window: Values below are black, above are white.
    """
    orientation = np.asarray(io_orientation(affine_ras))  # type: ignore[no-untyped-call, unused-ignore]
    across = int(np.flatnonzero(orientation[:, 0] == _SUPERIOR)[0])
    count = voxels.shape[across]
    middle = count // 2
    index = middle if orientation[across, 1] > 0 else count - 1 - middle
    plane, (width, height) = _to_screen(np.take(voxels, index, axis=across), across, orientation)
    spacing = np.linalg.norm(affine_ras[:3, :3], axis=0)
    columns, rows = (float(spacing[axis]) for axis in (width, height))
    return FirstSlice(
        png=_png(plane, window),
        size_mm=(columns * plane.shape[1], rows * plane.shape[0]),
        number=middle + 1,
        count=count,
    )


def _to_screen(
    plane: NDArray[np.generic], across: int, orientation: NDArray[np.float64]
) -> tuple[NDArray[np.generic], tuple[int, int]]:
    """Rows from anterior to posterior, columns from the patient's right to the left; the axes of width and height."""
    rest = [axis for axis in range(3) if axis != across]
    for position, axis in enumerate(rest):
        if orientation[axis, 1] > 0:  # towards right, or anterior, which come first on the screen
            plane = np.flip(plane, axis=position)
    if orientation[rest[0], 0] == 0:
        return plane.T, (rest[0], rest[1])
    return plane, (rest[1], rest[0])


def _png(plane: NDArray[np.generic], window: Window) -> bytes:
    low = window.level - window.width / 2
    grey = np.clip((np.nan_to_num(plane.astype(np.float32)) - low) * (255 / window.width), 0, 255)
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey.astype(np.uint8))).save(content, "PNG", compress_level=1)
    return content.getvalue()
