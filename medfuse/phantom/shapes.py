"""Shapes, tubes and textures that the phantoms are made of: numpy and scipy on patient millimetres.

A shape is a signed distance in mm (negative inside); `cover` turns it into the fraction of each voxel that it fills.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medfuse.domain import VolumeGeometry

Field = NDArray[np.float32]
"""One value a voxel, shape `(I, J, K)`."""

Points = NDArray[np.float32]
"""One LPS position a voxel, mm, shape `(3, I, J, K)`."""


def positions(geometry: VolumeGeometry, centre_mm: ArrayLike = (0.0, 0.0, 0.0)) -> Points:
    """Where each voxel's centre is, LPS mm relative to `centre_mm`; shape `(3, I, J, K)`."""
    matrix = geometry.affine.matrix
    index = np.indices(geometry.shape, dtype=np.float32)
    start = matrix[:3, 3] - np.asarray(centre_mm)
    points = np.tensordot(matrix[:3, :3].astype(np.float32), index, axes=1)
    return np.asarray(points + start.astype(np.float32)[:, None, None, None], dtype=np.float32)


def ellipsoid(points: Points, centre_mm: ArrayLike, radii_mm: ArrayLike) -> Field:
    """Approximate signed distance, mm, to an axis-parallel ellipsoid.

    Exact for a sphere; first-order near the surface otherwise (k0 (k0 - 1) / k1, Quilez, "Ellipsoid SDF").
    """
    offset = points - np.asarray(centre_mm, dtype=np.float32)[:, None, None, None]
    radii = np.asarray(radii_mm, dtype=np.float32)[:, None, None, None]
    scaled = offset / radii
    level = np.sqrt(np.einsum("cijk,cijk->ijk", scaled, scaled))
    scaled /= radii
    gradient = np.sqrt(np.einsum("cijk,cijk->ijk", scaled, scaled))
    return np.asarray(level * (level - 1) / np.maximum(gradient, 1e-6) - (level < 1e-6) * radii.min(), dtype=np.float32)


def cover(distance_mm: Field, softness_mm: float) -> Field:
    """Fraction of a voxel inside a shape: 1 inside, 0 outside, linear over `softness_mm` across the surface."""
    return np.asarray(np.clip(0.5 - distance_mm / np.float32(softness_mm), 0, 1), dtype=np.float32)


def blend(image: Field, fraction: Field, value: Field | float) -> None:
    """Paint `value` over `image` in place, by the fraction of each voxel that it fills."""
    image += fraction * (np.asarray(value, dtype=np.float32) - image)


def texture(rng: np.random.Generator, geometry: VolumeGeometry, scale_mm: float) -> Field:
    """Smooth noise of mean 0 and standard deviation 1, correlated over about `scale_mm`."""
    noise = rng.standard_normal(geometry.shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, scale_mm / geometry.affine.spacing_mm, mode="wrap", truncate=3.0)
    return np.asarray((smooth - smooth.mean()) / max(float(smooth.std()), 1e-6), dtype=np.float32)


def tubes(
    rng: np.random.Generator,
    geometry: VolumeGeometry,
    path_mm: NDArray[np.float64],
    radius_mm: NDArray[np.float64],
    step_mm: float,
) -> Field:
    """Fraction of each voxel filled by tubes along sampled paths.

    Args:
        rng: Spreads each sample over the cross-section of its tube.
        geometry: The grid.
        path_mm: Samples of the centre lines, LPS mm, shape `(N, 3)`.
        radius_mm: Radius at each sample, shape `(N,)`.
        step_mm: Distance between two samples along a line.
    """
    spread = 4
    around = rng.standard_normal((spread, *path_mm.shape))
    around *= (rng.random((spread, len(path_mm))) ** (1 / 3) * radius_mm / np.linalg.norm(around, axis=2))[..., None]
    samples = (path_mm + around).reshape(-1, 3)
    inverse = geometry.affine.inverse()
    index = np.rint(samples @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.int64)
    inside = ((index >= 0) & (index < geometry.shape)).all(axis=1)
    filled = np.tile(np.pi * radius_mm**2 * step_mm / spread / geometry.voxel_volume_mm3, spread)
    flat = np.ravel_multi_index(tuple(index[inside].T), geometry.shape)
    total = np.bincount(flat, weights=filled[inside], minlength=int(np.prod(geometry.shape)))
    return np.minimum(total, 1).reshape(geometry.shape).astype(np.float32)


def nearest(distance_mm: Field, allowed: NDArray[np.bool_], volume_mm3: float, voxel_mm3: float) -> NDArray[np.bool_]:
    """The allowed voxels of smallest distance that together fill about `volume_mm3`.

    Gives a growth of chosen size that stays within a tissue; never more than the allowed voxels.
    """
    wanted = min(round(volume_mm3 / voxel_mm3), int(np.count_nonzero(allowed)))
    chosen = np.zeros(allowed.size, dtype=bool)
    if wanted > 0:
        distance = np.where(allowed, distance_mm, np.inf).ravel()
        chosen[np.argsort(distance, kind="stable")[:wanted]] = True
    return chosen.reshape(allowed.shape)


def place(allowed: NDArray[np.bool_], geometry: VolumeGeometry, clearance_mm: float, where: float) -> tuple[int, ...]:
    """An index whose surroundings are allowed over `clearance_mm`, or the roomiest one when there is none.

    Args:
        allowed: Where the thing may lie, shape `(I, J, K)`.
        geometry: The grid of `allowed`.
        clearance_mm: Wanted distance to the nearest voxel that is not allowed.
        where: Which of the candidates, 0 to 1.
    """
    room = ndimage.distance_transform_edt(allowed, sampling=geometry.affine.spacing_mm)
    candidates = np.flatnonzero(room >= min(clearance_mm, float(room.max())))
    chosen = candidates[min(int(where * len(candidates)), len(candidates) - 1)]
    return tuple(int(n) for n in np.unravel_index(chosen, allowed.shape))


def equivalent_diameter_mm(volume_mm3: float) -> float:
    """Diameter of the sphere of a volume, mm."""
    return float((6 * volume_mm3 / np.pi) ** (1 / 3))


def line(start_mm: ArrayLike, end_mm: ArrayLike, step_mm: float) -> NDArray[np.float64]:
    """Samples from `start_mm` to `end_mm` about every `step_mm`; shape `(N, 3)`."""
    start, end = np.asarray(start_mm, dtype=np.float64), np.asarray(end_mm, dtype=np.float64)
    count = max(2, round(float(np.linalg.norm(end - start)) / step_mm) + 1)
    return np.asarray(start + np.linspace(0, 1, count)[:, None] * (end - start))


def joined(
    paths: Sequence[NDArray[np.float64]], radii: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Paths laid end to end, with the radius of each of their samples."""
    return np.concatenate(paths), np.repeat(np.asarray(radii, dtype=np.float64), [len(path) for path in paths])
