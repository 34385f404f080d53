"""Closed planar contours -> masks on a grid.

A voxel is inside when its centre is (even-odd rule, exact crossings, so that a keyhole contour and a hole both come
out right). Between contour planes the region is interpolated by the signed distance to the outlines (Raya and Udupa
1990, shape-based interpolation); a plane's region otherwise reaches half the distance between planes.

Looked at before writing this: rt-utils and OpenCV's fillPoly round the corners to whole pixels and find slices by
instance UID, platipy rounds corners too and XORs every contour of a slice (a contour drawn twice vanishes),
matplotlib's Path and scikit-image's polygon are exact but heavy for one scan line rule, SimpleITK fills no polygons.
Hence twenty lines of numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfuse.domain import Affine, VolumeGeometry

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_FLAT = 0.2
_SAME_PLANE = 0.02
_BRIDGED = 1.5
_SMALL = 40_000
_MOST_VOXELS = 2**27


@dataclass(frozen=True, slots=True, eq=False)
class Contour:
    """A closed polygon in one plane.

    Args:
        points_mm: Corners, LPS mm, `(N, 3)`; the last joins the first.
        exclusive: Whether it is combined with the others of its plane by XOR (Contour Geometric Type
            CLOSEDPLANAR_XOR, PS3.3 section C.8.8.6.3).
    """

    points_mm: Array
    exclusive: bool = False


def contour_mask(contours: Sequence[Contour], on: VolumeGeometry, *, usual_step: float | None = None) -> Mask:
    """The voxels of `on` whose centres lie inside the contours of one region.

    Contours may lie on any plane: along the slices, the rows or the columns of `on` they are drawn right there (a
    sheared grid too); on other planes they are drawn on a finer grid of their own, which is then looked up.

    Args:
        contours: All contours of the region.
        on: The grid, LPS mm.
        usual_step: Distance between planes in slices of `on`, for a region with fewer than three planes.

    Returns:
        Shape of `on`.
    """
    inside = np.zeros(on.shape, dtype=bool)
    inverse = on.affine.inverse()
    groups: dict[int, list[tuple[Array, bool]]] = {}
    oblique = []
    for contour in contours:
        index = contour.points_mm @ inverse[:3, :3].T + inverse[:3, 3]
        axis = _flat_axis(index)
        if axis is None:
            oblique.append(contour)
        else:
            groups.setdefault(axis, []).append((index, contour.exclusive))
    for axis, members in groups.items():
        order = [a for a in (0, 1, 2) if a != axis] + [axis]
        shape = tuple(on.shape[a] for a in order)
        spacing = on.affine.spacing_mm[order]
        drawn = _draw([(index[:, order], xor) for index, xor in members], shape, spacing, usual_step)
        inside |= drawn.transpose(np.argsort(order))
    for plane in _by_normal(oblique):
        inside |= _draw_oblique(plane, on)
    return inside


def plane_positions(contours: Sequence[Contour], on: VolumeGeometry) -> Array:
    """Slice coordinates (axis k of `on`) of the distinct planes of contours that lie along the slices, ascending."""
    inverse = on.affine.inverse()
    flat = [contour.points_mm @ inverse[:3, :3].T + inverse[:3, 3] for contour in contours]
    return _distinct(np.array([index[:, 2].mean() for index in flat if _flat_axis(index) == 2]))


def polygon_mask(corners: Array, shape: tuple[int, ...]) -> Mask:
    """Grid points inside a polygon by the even-odd rule.

    Args:
        corners: Polygon in index units, `(N, 2)`; the points of the grid are whole numbers.
        shape: Number of points along both axes.
    """
    start, end = corners, np.roll(corners, -1, axis=0)
    low = np.clip(np.ceil(np.minimum(start[:, 1], end[:, 1])), 0, shape[1]).astype(np.intp)
    high = np.clip(np.ceil(np.maximum(start[:, 1], end[:, 1])), 0, shape[1]).astype(np.intp)
    crossed = np.maximum(high - low, 0)
    edge = np.repeat(np.arange(len(corners)), crossed)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(crossed) - crossed, crossed) + low[edge]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])
    column = np.clip(np.ceil(start[edge, 0] + slope[edge] * (row - start[edge, 1])), 0, shape[0]).astype(np.intp)
    toggles = np.zeros((shape[0] + 1, shape[1]), dtype=np.int32)
    np.add.at(toggles, (column, row), 1)
    return np.asarray(np.cumsum(toggles, axis=0)[:-1] % 2 == 1)


def _plane_mask(polygons: Sequence[tuple[Array, bool]], shape: tuple[int, ...]) -> Mask:
    """Combine the contours of one plane.

    One inside another is a hole in it, one inside the hole an island again; others are joined. The same contour
    drawn twice counts once. Contours of the type XOR toggle what is there.
    """
    masks = [(polygon_mask(corners, shape), xor) for corners, xor in polygons]
    masks = sorted((m for m in masks if m[0].any()), key=lambda m: -np.count_nonzero(m[0]))
    plane = np.zeros(shape, dtype=bool)
    larger: list[Mask] = []
    for mask, xor in masks:
        if xor:
            plane ^= mask
            continue
        around = [other for other in larger if not (mask & ~other).any()]
        if any(np.array_equal(mask, other) for other in around):
            continue
        plane[mask] = len(around) % 2 == 0
        larger.append(mask)
    return plane


def _draw(
    members: Sequence[tuple[Array, bool]], shape: tuple[int, ...], spacing: Array, usual_step: float | None
) -> Mask:
    """Draw contours that lie along the first two axes; `members` are in index units with the plane's axis last."""
    out = np.zeros(shape, dtype=bool)
    low, high = _box(np.concatenate([index[:, :2] for index, _ in members]), shape)
    if (low >= high).any():
        return out
    box = tuple(int(n) for n in high - low)
    places = np.array([index[:, 2].mean() for index, _ in members])
    distinct = _distinct(places)
    nearest = np.argmin(np.abs(places[:, None] - distinct), axis=1)
    polygons = [(index[:, :2] - low, xor) for index, xor in members]
    planes = [_Plane([polygons[n] for n in np.flatnonzero(nearest == p)], box) for p in range(len(distinct))]
    step = _step(distinct, usual_step)
    for k in range(max(0, int(distinct[0] - step)), min(shape[2], int(distinct[-1] + step) + 2)):
        out[low[0] : high[0], low[1] : high[1], k] = _between(k, distinct, planes, step, spacing)
    return out


def _between(k: int, places: Array, planes: Sequence["_Plane"], step: float, spacing: Array) -> Mask:
    """The region on slice `k`: a plane's own, one between two planes, or that of a plane within half a step."""
    above = int(np.searchsorted(places, k))
    near = min((p for p in (above - 1, above) if 0 <= p < len(places)), key=lambda p: abs(places[p] - k))
    distance = k - places[near]
    if abs(distance) <= _SAME_PLANE * max(step, 1.0):
        return planes[near].mask
    if 0 < above < len(places) and places[above] - places[above - 1] <= _BRIDGED * step:
        share = (k - places[above - 1]) / (places[above] - places[above - 1])
        below, over = (planes[p].signed_distance(spacing) for p in (above - 1, above))
        return np.asarray((1 - share) * below + share * over > 0)
    if -0.5 * step < distance <= 0.5 * step:
        return planes[near].mask
    return np.zeros_like(planes[near].mask)


class _Plane:
    """The contours of one plane, drawn when they are asked for.

    Args:
        polygons: Corners in index units, and whether the contour is one of those that XOR.
        shape: Number of grid points along both axes.
    """

    def __init__(self, polygons: Sequence[tuple[Array, bool]], shape: tuple[int, ...]) -> None:
        self._polygons = polygons
        self._shape = shape
        self._distance: Array | None = None
        self.mask = _plane_mask(polygons, shape)

    def signed_distance(self, spacing: Array) -> Array:
        """Distance of each grid point to the outline in mm, positive inside.

        Small regions are drawn three times finer for it, since half a pixel is much of them.
        """
        if self._distance is None:
            fine = 3 if self.mask.size <= _SMALL else 1
            polygons = [(corners * fine + fine // 2, xor) for corners, xor in self._polygons]
            mask = np.pad(_plane_mask(polygons, tuple(fine * n for n in self._shape)) if fine > 1 else self.mask, 1)
            if mask.any():
                inner, outer = (
                    ndimage.distance_transform_edt(part, sampling=spacing[:2] / fine) for part in (mask, ~mask)
                )
                self._distance = np.asarray(inner - outer)[1:-1, 1:-1][fine // 2 :: fine, fine // 2 :: fine]
            else:
                self._distance = np.full(self._shape, -float(spacing[:2].max()))
        return self._distance


def _box(points: Array, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and one past the last grid point around `points`, inside the grid."""
    limits = np.array(shape[:2])
    low = np.clip(np.floor(points.min(axis=0)) - 1, 0, limits)
    high = np.clip(np.ceil(points.max(axis=0)) + 2, 0, limits)
    return low.astype(np.intp), high.astype(np.intp)


def _distinct(places: Array) -> Array:
    """Mean place of each run of places that differ by next to nothing."""
    if not len(places):
        return places
    ordered = np.sort(places)
    runs = np.split(ordered, np.flatnonzero(np.diff(ordered) > _SAME_PLANE) + 1)
    return np.array([run.mean() for run in runs])


def _step(places: Array, usual: float | None) -> float:
    """Distance between planes: the region's own median, or the usual one where it has too few."""
    if len(places) >= 3:
        return float(np.median(np.diff(places)))
    return usual or 1.0


def _flat_axis(index: Array) -> int | None:
    """The axis of the grid that a contour is flat along, k before the others; None for an oblique one."""
    extent = np.ptp(index, axis=0)
    return next((axis for axis in (2, 0, 1) if extent[axis] <= _FLAT), None)


def _normal(points: Array) -> Array:
    """Unit normal of a polygon (Newell's sum of cross products)."""
    total = np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0)
    length = float(np.linalg.norm(total))
    return total / length if length > 0 else np.array([0.0, 0.0, 1.0])


def _by_normal(contours: Sequence[Contour]) -> list[list[Contour]]:
    """Contours by the direction of their plane, within about two degrees."""
    groups: list[tuple[Array, list[Contour]]] = []
    for contour in contours:
        normal = _normal(contour.points_mm - contour.points_mm.mean(axis=0))
        found = next((members for other, members in groups if abs(float(other @ normal)) > 0.9994), None)
        if found is None:
            groups.append((normal, [contour]))
        else:
            found.append(contour)
    return [members for _, members in groups]


def _draw_oblique(contours: Sequence[Contour], on: VolumeGeometry) -> Mask:
    """Draw contours of one oblique direction on a grid along them, and look its voxels up from `on`."""
    points = np.concatenate([contour.points_mm for contour in contours])
    largest = max(contours, key=lambda contour: float(np.ptp(contour.points_mm, axis=0).sum())).points_mm
    normal = _normal(largest - largest.mean(axis=0))
    across = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    across /= np.linalg.norm(across)
    direction = np.stack([across, np.cross(normal, across), normal], axis=1)
    local = points @ direction
    places = _distinct(np.array([float((contour.points_mm @ normal).mean()) for contour in contours]))
    step = _step(places, float(on.affine.spacing_mm.max()))
    low, high = local.min(axis=0), local.max(axis=0)
    low[2], high[2] = low[2] - step, high[2] + step
    pitch = float(on.affine.spacing_mm.min()) / 2
    while np.prod((high - low) / pitch + 3) > _MOST_VOXELS:
        pitch *= 1.5
    shape = tuple(int(n) for n in np.ceil((high - low) / pitch) + 3)
    affine = Affine.from_parts(origin_mm=direction @ (low - pitch), direction=direction, spacing_mm=[pitch] * 3)
    members = [((c.points_mm @ direction - (low - pitch)) / pitch, c.exclusive) for c in contours]
    drawn = _draw(members, shape, np.full(3, pitch), step / pitch)
    matrix = affine.inverse() @ on.affine.matrix
    looked_up = ndimage.affine_transform(
        drawn.astype(np.uint8), matrix[:3, :3], matrix[:3, 3], on.shape, order=0, mode="grid-constant", prefilter=False
    )
    return np.asarray(looked_up, dtype=bool)
