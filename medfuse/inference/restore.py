"""From class probabilities on the model grid to a label map on the source grid.

Every class is interpolated linearly and the most probable one of each source voxel taken, at the cost of very little of
that: where the eight model voxels around a source voxel agree on the most probable class, it stays the most probable
one under any interpolation between them (each class's probability is the same mean of the eight). So the label map is
copied there, and classes are interpolated only at the source voxels around which the eight differ.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from medfuse.domain.geometry import VolumeGeometry
from medfuse.domain.labels import LabelSet
from medfuse.domain.segmentation import Segment, Segmentation
from medfuse.inference.overlapping import restore_overlapping
from medfuse.inference.ranked import RankedScores
from medfuse.preprocess.grid import copied_if_aligned, is_smoothed, resample

VOXELS_A_SLAB = 1 << 24
POINTS_A_CHUNK = 1 << 18
OFF_AXIS = 1e-3
"""Voxels by which a source axis may leave the model axis that it runs along and still be taken to run along it."""


def restore(
    probabilities: NDArray[np.float32] | RankedScores,
    grid: VolumeGeometry,
    source: VolumeGeometry,
    label_set: LabelSet,
) -> Segmentation:
    """The most probable class of each source voxel, the lower number at a tie; every segment of it where they overlap.

    A source voxel outside the model grid is background. From `RankedScores`, classes beyond the highest of a model
    voxel count as 0 there. Where the source is coarser than the model grid, each class is smoothed first (see
    `medfuse.preprocess.grid.resample`) and interpolated everywhere.

    Args:
        probabilities: Shape `(S1, I, J, K)` on `grid`, background first, adding up to 1; or the highest of each voxel;
            of each segment alone where they overlap.
        grid: The model grid.
        source: The grid to answer on.
        label_set: Names the segments.

    Raises:
        ValueError: There are not as many classes as segments and the background, or segments that overlap.
    """
    if not isinstance(probabilities, RankedScores) and len(probabilities) != label_set.channels:
        raise ValueError(f"{len(probabilities)} classes for {len(label_set.segments)} segments and the background")
    if label_set.overlapping and not isinstance(probabilities, RankedScores):
        return restore_overlapping(probabilities, grid, source, label_set)
    if is_smoothed(grid, source):
        label_map = _class_by_class(probabilities, grid, source)
    else:
        labels = most_probable(probabilities)
        copied = copied_if_aligned(labels, grid, source)
        label_map = _by_cells(probabilities, labels, grid, source) if copied is None else copied
    segments = tuple(Segment(number=n, name=name) for n, name in enumerate(label_set.segments, start=1))
    return Segmentation(label_map=label_map, geometry=source, segments=segments)


def _class_by_class(
    probabilities: NDArray[np.float32] | RankedScores, grid: VolumeGeometry, source: VolumeGeometry
) -> NDArray[np.uint8]:
    """Every class everywhere, so that memory holds two volumes of floats and never one a class."""
    label_map = np.zeros(source.shape, dtype=np.uint8)
    best: NDArray[np.float32] | None = None
    for number, of_class in _classes(probabilities):
        candidate = resample(of_class, grid, source, outside=float(number == 0))
        if best is None:
            best = candidate
            continue
        np.copyto(label_map, number, where=candidate > best)
        np.maximum(best, candidate, out=best)
    return label_map


def _classes(probabilities: NDArray[np.float32] | RankedScores) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The classes that are anywhere, with their number, background first."""
    if isinstance(probabilities, RankedScores):
        for number in [0, *np.flatnonzero(np.bincount(probabilities.ranked.ravel())[1:]) + 1]:
            yield int(number), probabilities.of_class(int(number))
    else:
        yield from enumerate(probabilities)


def most_probable(probabilities: NDArray[np.float32] | RankedScores) -> NDArray[np.uint8]:
    """The most probable class of each model voxel, uint8 of the model grid's shape; the lower number at a tie."""
    if isinstance(probabilities, RankedScores):
        first: NDArray[np.uint8] = probabilities.ranked[0]
        return first
    best = probabilities[0].copy()
    labels = np.zeros(best.shape, dtype=np.uint8)
    for number in range(1, len(probabilities)):
        np.copyto(labels, number, where=probabilities[number] > best)
        np.maximum(best, probabilities[number], out=best)
    return labels


def _by_cells(
    probabilities: NDArray[np.float32] | RankedScores,
    labels: NDArray[np.uint8],
    grid: VolumeGeometry,
    source: VolumeGeometry,
) -> NDArray[np.uint8]:
    to_model = grid.affine.inverse() @ source.affine.matrix
    cells, mixed = _agreement(labels)
    label_map = np.empty(source.shape, dtype=np.uint8)
    rows = max(1, VOXELS_A_SLAB // (source.shape[1] * source.shape[2]))
    for first in range(0, source.shape[0], rows):
        slab = label_map[first : first + rows]
        matrix = to_model.copy()
        matrix[:3, 3] += first * to_model[:3, 0]
        slab[...] = _looked_up(cells, matrix, slab.shape)
        for points in _mixed_points(mixed, matrix, slab.shape).split(POINTS_A_CHUNK):
            at = _model_index(points, matrix, slab.shape)
            slab.reshape(-1)[points.numpy()] = _interpolated(probabilities, at)
    return label_map


def _agreement(labels: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """What each cell between eight model voxels agrees on, and whether it does not; two cells of background around."""
    padded = np.pad(labels, 2)
    lowest = highest = padded
    for axis in range(3):
        before = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        after = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        lowest, highest = np.minimum(lowest[before], lowest[after]), np.maximum(highest[before], highest[after])
    return torch.from_numpy(lowest), torch.from_numpy(lowest != highest)


def _looked_up(cells: Tensor, matrix: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[Any]:
    """The value of the cell around each source voxel.

    Args:
        cells: As `_agreement` gives them.
        matrix: From source indices to model indices, 4x4.
        shape: Of the source.
    """
    order = _axes_alike(matrix, shape)
    if order is None:
        points = torch.arange(int(np.prod(shape)))
        flat = [cells[_cell_of(_model_index(part, matrix, shape), cells)] for part in points.split(1 << 22)]
        return np.asarray(torch.cat(flat).reshape(shape).numpy())
    for source_axis, model_axis in enumerate(order):
        line = matrix[model_axis, 3] + matrix[model_axis, source_axis] * np.arange(shape[source_axis])
        limit = cells.shape[model_axis] - 1
        cells = cells.index_select(model_axis, torch.from_numpy(np.clip(np.floor(line) + 2, 0, limit).astype(np.int64)))
    return np.asarray(cells.permute(order).numpy())


def _mixed_points(mixed: Tensor, matrix: NDArray[np.float64], shape: tuple[int, ...]) -> Tensor:
    """Flat numbers of the source voxels in cells whose corners differ."""
    return torch.from_numpy(np.flatnonzero(_looked_up(mixed, matrix, shape)))


def _axes_alike(matrix: NDArray[np.float64], shape: tuple[int, ...]) -> list[int] | None:
    """The model axis along which each source axis runs; None where one leaves it by more than `OFF_AXIS`."""
    order = [int(axis) for axis in np.abs(matrix[:3, :3]).argmax(axis=0)]
    off = matrix[:3, :3].copy()
    off[order, range(3)] = 0
    return order if sorted(order) == [0, 1, 2] and (np.abs(off) @ np.array(shape)).max() < OFF_AXIS else None


def _model_index(points: Tensor, matrix: NDArray[np.float64], shape: tuple[int, ...]) -> Tensor:
    """Model indices of source voxels given by their flat numbers, float32 of shape `(n, 3)`."""
    plane, line = shape[1] * shape[2], shape[2]
    rows = (points // plane, points % plane // line, points % line)
    order = _axes_alike(matrix, shape)
    if order is None:
        index = torch.stack(rows, dim=1).double()
        moved: Tensor = index @ torch.from_numpy(matrix[:3, :3].T.copy()) + torch.from_numpy(matrix[:3, 3].copy())
        return moved.float()
    found = torch.empty((len(points), 3))
    for source_axis, model_axis in enumerate(order):
        at = matrix[model_axis, 3] + matrix[model_axis, source_axis] * np.arange(shape[source_axis])
        found[:, model_axis] = torch.from_numpy(at.astype(np.float32))[rows[source_axis]]
    return found


def _cell_of(at: Tensor, cells: Tensor) -> tuple[Tensor, ...]:
    limits = torch.tensor(cells.shape) - 1
    place = torch.minimum((at.floor().long() + 2).clamp(min=0), limits)
    return place[:, 0], place[:, 1], place[:, 2]


def _interpolated(probabilities: NDArray[np.float32] | RankedScores, at: Tensor) -> NDArray[np.uint8]:
    """The most probable class at model indices `(n, 3)`, all classes interpolated; what lies outside is background."""
    if isinstance(probabilities, RankedScores):
        shape = torch.tensor(probabilities.ranked.shape[1:])
        scores = _from_ranks(probabilities, at, shape)
    else:
        volume = torch.from_numpy(probabilities)
        shape = torch.tensor(volume.shape[1:])
        where = ((2 * at + 1) / shape - 1).flip(-1)[None, None, None]
        scores = grid_sample(volume[None], where, padding_mode="zeros", align_corners=False)[0, :, 0, 0].T
    scores[:, 0] += 1 - torch.minimum(at + 1, shape - at).clamp(0, 1).prod(dim=1)
    return np.asarray(scores.argmax(dim=1).to(torch.uint8).numpy())


def _from_ranks(scores: RankedScores, at: Tensor, shape: Tensor) -> Tensor:
    """Probability of every class at model indices, from the highest of the eight voxels around; shape `(n, S1)`."""
    ranks = len(scores.ranked)
    ranked = torch.from_numpy(scores.ranked).reshape(ranks, -1)
    values = torch.from_numpy(scores.probabilities).reshape(ranks, -1)
    low = at.floor()
    share = at - low
    found = torch.zeros((len(at), scores.classes))
    for corner in product((0, 1), repeat=3):
        place = low.long() + torch.tensor(corner)
        inside = ((place >= 0) & (place < shape)).all(dim=1)
        weight = torch.where(torch.tensor(corner, dtype=torch.bool), share, 1 - share).prod(dim=1) * inside
        place = torch.minimum(place.clamp(min=0), shape - 1)
        flat = (place[:, 0] * shape[1] + place[:, 1]) * shape[2] + place[:, 2]
        found.scatter_add_(1, ranked[:, flat].T.long(), values[:, flat].T.float() * weight[:, None])
    return found
