"""RT structure sets drawn onto grids, against shapes whose volume is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medfuse.domain import Affine, VolumeGeometry
from medfuse.errors import UnreadableFileError
from medfuse.ingest import read_segmentation
from medfuse.ingest.dicom.contours import polygon_mask
from tests.unit.ingest.made_dicom import image, save
from tests.unit.ingest.made_objects import circle, square, structure_set, write_rtstruct

X, Y, Z = np.eye(3)
UNIT = VolumeGeometry(shape=(20, 20, 6), affine=Affine(np.eye(4)))


def grid(
    spacing: tuple[float, float, float] = (1.0, 1.0, 2.0),
    direction: NDArray[np.float64] | None = None,
    extent: float = 52,
) -> VolumeGeometry:
    """A grid of `extent` mm around the origin of the world."""
    axes = np.eye(3) if direction is None else direction
    shape = tuple(int(extent / s) for s in spacing)
    origin = -axes @ ((np.array(shape) - 1) / 2 * spacing)
    return VolumeGeometry(
        shape=shape,
        affine=Affine.from_parts(origin_mm=origin, direction=axes, spacing_mm=spacing),  # type: ignore[arg-type]
    )


def rotation(*angles: float) -> NDArray[np.float64]:
    out = np.eye(3)
    for (a, b), angle in zip(((0, 1), (1, 2), (0, 2)), np.radians(angles), strict=True):
        turn = np.eye(3)
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        out = out @ turn
    return out


def places(on: VolumeGeometry) -> NDArray[np.float64]:
    return on.affine.apply(np.moveaxis(np.indices(on.shape), 0, -1))


def sphere(at: NDArray[np.float64], radius: float = 20.3) -> NDArray[np.bool_]:
    return np.linalg.norm(at, axis=-1) < radius


def torus(at: NDArray[np.float64], ring: float = 14, tube: float = 6) -> NDArray[np.bool_]:
    return np.hypot(np.hypot(at[..., 0], at[..., 1]) - ring, at[..., 2]) < tube


def sphere_contours(axes: NDArray[np.float64], step: float, shift: float, radius: float = 20.3) -> list[NDArray]:
    """Circles of the sphere on planes across the third of `axes` (columns), `step` apart."""
    heights = np.arange(-30, 30, step) + shift
    return [
        circle(h * axes[:, 2], float(np.sqrt(radius**2 - h**2)), (axes[:, 0], axes[:, 1]))
        for h in heights
        if abs(h) < radius - 0.05
    ]


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def drawn(tmp_path: Path, on: VolumeGeometry, *polygons: NDArray, **tags: object) -> NDArray[np.uint8]:
    return read_segmentation(write_rtstruct(tmp_path / "rt", {"region": polygons}, **tags), on).label_map


SHEARED = np.array([[1, 0, 0], [0, 1, 0.36], [0, 0, 0.93]])


@pytest.mark.parametrize(
    ("on", "axes", "step", "shift"),
    [
        pytest.param(grid(), np.eye(3), 2.0, 1.0, id="on the slices"),
        pytest.param(grid(), np.eye(3), 2.0, 0.0, id="between the slices"),
        pytest.param(grid((1, 1, 1)), np.eye(3), 3.0, 0.4, id="on every third slice"),
        pytest.param(grid((0.8, 1.2, 4)), np.eye(3), 1.0, 0.0, id="finer than the slices"),
        pytest.param(grid(), np.eye(3)[:, [1, 2, 0]], 1.0, 0.5, id="sagittal contours, axial volume"),
        pytest.param(grid((2, 1, 1), np.eye(3)[:, [2, 0, 1]]), np.eye(3)[:, [2, 0, 1]], 1.0, 0.5, id="coronal volume"),
        pytest.param(grid((1, 1, 2), rotation(20, 30, 10)), rotation(20, 30, 10), 2.0, 1.0, id="oblique volume"),
        pytest.param(grid(), rotation(20, 30, 10), 2.0, 0.0, id="oblique contours, axial volume"),
        pytest.param(grid((1, 1, 2), SHEARED), np.eye(3), 1.86, 0.0, id="sheared volume"),
    ],
)
def test_a_sphere_keeps_its_shape(
    tmp_path: Path, on: VolumeGeometry, axes: NDArray[np.float64], step: float, shift: float
) -> None:
    labels = drawn(tmp_path, on, *sphere_contours(axes, step, shift))
    truth = sphere(places(on))
    assert dice(labels == 1, truth) > 0.98
    assert np.count_nonzero(labels) == pytest.approx(np.count_nonzero(truth), rel=0.03)


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_a_torus_keeps_its_hole(tmp_path: Path, kind: str) -> None:
    on = grid()
    polygons = []
    for z in np.arange(-5, 6, 2.0):
        half = float(np.sqrt(36 - z**2))
        polygons += [circle((0, 0, z), 14 - half, (X, Y)), circle((0, 0, z), 14 + half, (X, Y))]
    labels = drawn(tmp_path, on, *polygons, ContourGeometricType=kind)
    assert dice(labels == 1, torus(places(on))) > 0.98
    middle = np.array(on.shape) // 2
    assert labels[middle[0], middle[1]].max() == 0


def test_a_keyhole_contour_has_its_hole(tmp_path: Path) -> None:
    outer, inner = square(2, 16, 3), square(6, 11, 3)[::-1]
    keyhole = np.concatenate([outer, outer[:1], np.roll(inner, 1, axis=0), np.roll(inner, 1, axis=0)[:1]])
    labels = drawn(tmp_path, UNIT, keyhole)
    assert labels[4, 4, 3] == 1
    assert labels[8, 8, 3] == 0


def test_islands_in_holes_and_neighbours(tmp_path: Path) -> None:
    shapes = [square(1.5, 15.5, 2), square(3.5, 12.5, 2), square(6.5, 9.5, 2), square(14.5, 18.5, 2)]
    labels = drawn(tmp_path, UNIT, *shapes)
    plane = np.zeros((20, 20), bool)
    plane[2:16, 2:16], plane[4:13, 4:13], plane[7:10, 7:10] = True, False, True
    plane[15:19, 15:19] = True
    np.testing.assert_array_equal(labels[..., 2] == 1, plane)
    assert labels[..., [0, 1, 3, 4, 5]].max() == 0


def test_a_contour_drawn_twice_does_not_vanish(tmp_path: Path) -> None:
    labels = drawn(tmp_path, UNIT, square(1.5, 5.5, 2), square(1.5, 5.5, 2))
    assert np.count_nonzero(labels) == 16


def test_slices_without_a_contour_stay_empty_where_the_others_have_one(tmp_path: Path) -> None:
    labels = drawn(tmp_path, UNIT, *(square(1.5, 5.5, z) for z in (0, 1, 2, 5)))
    assert labels.any(axis=(0, 1)).tolist() == [True, True, True, False, False, True]


def test_one_contour_is_one_slice(tmp_path: Path) -> None:
    labels = drawn(tmp_path, UNIT, square(1.5, 5.5, 2.3))
    assert labels.any(axis=(0, 1)).tolist() == [False, False, True, False, False, False]


def test_voxels_count_by_their_centre() -> None:
    corners = np.array([[0.4, 0.4], [3.6, 0.4], [3.6, 2.6], [0.4, 2.6]])
    expected = np.zeros((6, 5), bool)
    expected[1:4, 1:3] = True
    np.testing.assert_array_equal(polygon_mask(corners, (6, 5)), expected)
    np.testing.assert_array_equal(polygon_mask(corners - [10, 0], (6, 5)), np.zeros((6, 5), bool))
    np.testing.assert_array_equal(
        polygon_mask(np.array([[-9, -9], [9, -9], [9, 9], [-9, 9]]), (6, 5)), np.ones((6, 5), bool)
    )


def test_every_polygon_agrees_with_a_winding_of_its_corners() -> None:
    rng = np.random.default_rng(5)
    points = np.moveaxis(np.indices((15, 13)), 0, -1).reshape(-1, 2)
    for _ in range(50):
        corners = rng.uniform(-3, 16, (rng.integers(3, 9), 2))
        start, end = corners, np.roll(corners, -1, axis=0)
        crosses = (start[:, 1] <= points[:, None, 1]) != (end[:, 1] <= points[:, None, 1])
        at = start[:, 0] + (points[:, None, 1] - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
        expected = (crosses & (at <= points[:, None, 0])).sum(axis=1) % 2 == 1
        np.testing.assert_array_equal(polygon_mask(corners, (15, 13)).ravel(), expected)


def test_names_numbers_and_the_smaller_region_on_top(tmp_path: Path) -> None:
    path = write_rtstruct(tmp_path / "rt", {"organ é": [square(4.5, 7.5, 1)], "BODY": [square(0.5, 15.5, 1)]})
    found = read_segmentation(path, UNIT)
    assert [(s.number, s.name, s.algorithm_type) for s in found.segments] == [
        (1, "organ é", "MANUAL"),
        (2, "BODY", "MANUAL"),
    ]
    assert (found.label_map[6, 6, 1], found.label_map[2, 2, 1]) == (1, 2)


def test_numbers_that_fit_no_label_map_are_counted_through(tmp_path: Path) -> None:
    dataset = structure_set({"a": [square(1.5, 3.5, 1)], "b": [square(5.5, 8.5, 1)]})
    for sequence, keyword in ((dataset.StructureSetROISequence, "ROINumber"),):
        for item, number in zip(sequence, (900, 0), strict=True):
            setattr(item, keyword, number)
    for item, number in zip(dataset.ROIContourSequence, (900, 0), strict=True):
        item.ReferencedROINumber = number
    found = read_segmentation(save(dataset, tmp_path / "rt"), UNIT)
    assert [(s.number, s.name) for s in found.segments] == [(1, "b"), (2, "a")]
    assert found.label_map[2, 2, 1] == 2


def test_points_and_open_contours_enclose_nothing(tmp_path: Path) -> None:
    dataset = structure_set({"line": [square(1, 5, 1)], "region": [square(1.5, 3.5, 1)]})
    dataset.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "OPEN_PLANAR"
    found = read_segmentation(save(dataset, tmp_path / "rt"), UNIT)
    assert [s.name for s in found.segments] == ["line", "region"]
    assert np.unique(found.label_map).tolist() == [0, 2]


def test_a_region_outside_of_the_grid_is_empty(tmp_path: Path) -> None:
    assert drawn(tmp_path, UNIT, square(100, 120, 2)).max() == 0
    assert drawn(tmp_path, UNIT, square(1, 5, 40)).max() == 0


def no_contour(dataset: object) -> None:
    dataset.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "POINT"  # type: ignore[attr-defined]


def odd_number(dataset: object) -> None:
    dataset.ROIContourSequence[0].ContourSequence[0].ContourData = [1.0, 2.0, 3.0, 4.0]  # type: ignore[attr-defined]


def too_many(dataset: object) -> None:
    dataset.StructureSetROISequence = list(dataset.StructureSetROISequence) * 300  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (no_contour, "NO_CONTOURS"),
        (odd_number, "UNREADABLE_SEGMENTATION"),
        (too_many, "TOO_MANY_SEGMENTS"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, spoil: Callable[[object], None], reason: str) -> None:
    dataset = structure_set({"region": [square(1, 5, 1)]})
    spoil(dataset)
    with pytest.raises(UnreadableFileError, match="rt") as caught:
        read_segmentation(save(dataset, tmp_path / "rt"), UNIT)
    assert caught.value.reason == reason


def test_an_image_is_no_structure_set(tmp_path: Path) -> None:
    dataset = image(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3")
    with pytest.raises(UnreadableFileError) as caught:
        read_segmentation(save(dataset, tmp_path / "rt"), UNIT)
    assert caught.value.reason == "NO_CONTOURS"
