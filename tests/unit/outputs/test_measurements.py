"""Volumes, diameters and means, against shapes whose measures are known and against every pair of points."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medfuse.domain import Affine, Quantity, Segment, Segmentation, Volume, VolumeGeometry
from medfuse.outputs.measurements import axial_axis, measure
from tests.unit.outputs import cases


def segmentation(
    masks: NDArray[np.uint8], *, spacing: tuple[float, float, float] = (1, 1, 1), direction: NDArray = cases.AXIAL
) -> Segmentation:
    affine = Affine.from_parts(origin_mm=(3, -4, 5), direction=direction, spacing_mm=spacing)
    geometry = VolumeGeometry(shape=masks.shape, affine=affine)  # type: ignore[arg-type]
    numbers = range(1, max(2, int(masks.max()) + 1))
    segments = tuple(Segment(number=n, name=f"region {n}") for n in numbers)
    return Segmentation(label_map=masks, geometry=geometry, segments=segments)


def sphere(radius: float, spacing: tuple[float, float, float]) -> NDArray[np.uint8]:
    shape = [int(2 * radius / mm) + 5 for mm in spacing]
    index = np.indices(shape).transpose(1, 2, 3, 0)
    away_mm = np.linalg.norm((index - (np.array(shape) - 1) / 2) * spacing, axis=-1)
    return (away_mm <= radius).astype(np.uint8)


@pytest.mark.parametrize("direction", [cases.AXIAL, cases.SAGITTAL, cases.oblique(), cases.FLIPPED])
def test_a_sphere_is_as_long_as_it_is_wide(direction: NDArray) -> None:
    spacing = (0.7, 0.9, 1.5)
    (one,) = measure(segmentation(sphere(20, spacing), spacing=spacing, direction=direction))
    assert one.diameter_mm == pytest.approx(40, abs=max(spacing))
    assert one.axial_diameter_mm == pytest.approx(40, abs=max(spacing))
    assert one.volume_mm3 == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.02)


def test_a_voxel_is_as_long_as_its_longest_edge() -> None:
    masks = np.zeros((5, 5, 5), dtype=np.uint8)
    masks[2, 2, 2] = 1
    (one,) = measure(segmentation(masks, spacing=(1, 2, 4)))
    assert (one.volume_mm3, one.diameter_mm, one.axial_diameter_mm) == (pytest.approx(8), 4, 2)
    assert one.key_slice == 2


@pytest.mark.parametrize(
    ("direction", "axis"), [(cases.AXIAL, 2), (cases.SAGITTAL, 1), (cases.CORONAL, 1), (cases.oblique(), 2)]
)
def test_the_axial_diameter_lies_in_the_most_axial_plane_of_the_grid(direction: NDArray, axis: int) -> None:
    """A rod along the patient's axis is long in three dimensions and as wide as a voxel in the axial plane."""
    masks = np.zeros((11, 12, 13), dtype=np.uint8)
    place: list[int | slice] = [5, 5, 5]
    place[axis] = slice(1, 10)
    masks[tuple(place)] = 1
    made = segmentation(masks, direction=direction)
    assert axial_axis(made.geometry.affine.matrix) == axis
    (one,) = measure(made)
    assert (one.diameter_mm, one.axial_diameter_mm) == (pytest.approx(9), pytest.approx(1))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.2, 0.9]))
def test_diameters_are_the_largest_distances_between_middles_of_faces(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    masks = (random.random((5, 4, 6)) < share).astype(np.uint8)
    masks[tuple(random.integers(0, masks.shape))] = 1
    spacing = (0.7, 0.9, 2.5)
    (one,) = measure(segmentation(masks, spacing=spacing, direction=cases.oblique()))
    index = np.argwhere(masks)
    faces = (index[:, None] + np.concatenate([np.eye(3), -np.eye(3)]) / 2).reshape(-1, 3) * spacing
    apart = np.linalg.norm(faces[:, None] - faces[None], axis=-1)
    assert one.diameter_mm == pytest.approx(apart.max())
    in_plane = [
        np.linalg.norm(a[:2] - b[:2])
        for k in range(6)
        for a, b in itertools.combinations(faces[np.repeat(index[:, 2] == k, 6)], 2)
    ]
    assert one.axial_diameter_mm == pytest.approx(max(in_plane))


def test_each_segment_is_measured_alone_and_an_empty_one_has_a_volume_of_0() -> None:
    masks = np.zeros((6, 6, 6), dtype=np.uint8)
    masks[1, 1, 1], masks[1:5, 2, 3] = 1, 3
    first, second, third = measure(segmentation(masks))
    assert (first.volume_mm3, first.diameter_mm, first.key_slice) == (pytest.approx(1), 1, 1)
    assert (second.volume_mm3, second.diameter_mm, second.mean, second.key_slice) == (0, None, None, None)
    assert (third.volume_mm3, third.diameter_mm, third.key_slice) == (pytest.approx(4), 4, 3)


def test_the_mean_is_of_the_voxels_inside() -> None:
    masks = np.zeros((6, 6, 6), dtype=np.uint8)
    masks[1:3, 1, 1] = 1
    made = segmentation(masks)
    voxels = np.full(masks.shape, 1000.0, dtype=np.float32)
    voxels[1, 1, 1], voxels[2, 1, 1] = -50, 150
    image = Volume(voxels=voxels, geometry=made.geometry, quantity=Quantity.HOUNSFIELD)
    (one,) = measure(made, image)
    assert (one.mean, one.quantity) == (50, Quantity.HOUNSFIELD)


def test_an_image_on_another_grid_gives_no_mean() -> None:
    masks = np.ones((6, 6, 6), dtype=np.uint8)
    made = segmentation(masks)
    elsewhere = segmentation(masks, spacing=(2, 2, 2)).geometry
    (one,) = measure(made, Volume(voxels=np.zeros(masks.shape), geometry=elsewhere))
    assert (one.mean, one.quantity) == (None, None)
    assert one.diameter_mm is not None


def test_overlapping_segments_are_measured_whole() -> None:
    bits = np.zeros((6, 6, 6), dtype=np.uint8)
    bits[1:5, 2, 2] = 1
    bits[2:4, 2, 2] |= 2
    made = segmentation(np.zeros((6, 6, 6), dtype=np.uint8))
    segments = tuple(Segment(number=n, name=f"region {n}") for n in (1, 2))
    outer, inner = measure(Segmentation.overlapping(bits, made.geometry, segments))
    assert (outer.volume_mm3, outer.diameter_mm) == (pytest.approx(4), 4)
    assert (inner.volume_mm3, inner.diameter_mm) == (pytest.approx(2), 2)
