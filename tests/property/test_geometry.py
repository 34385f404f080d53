"""Whatever the grid: LPS and RAS are two names of one place, and index and position turn into each other."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from medfuse.domain import Affine, VolumeGeometry
from medfuse.ingest.dicom.objects import resample_labels

finite = st.floats(-500, 500, allow_nan=False)


@st.composite
def affines(draw: st.DrawFn) -> Affine:
    """Turned, flipped and anisotropic grids anywhere in the patient."""
    turn = Rotation.from_euler("xyz", [draw(st.floats(-180, 180)) for _ in range(3)], degrees=True).as_matrix()
    flip = np.diag([draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)])
    spacing = [draw(st.floats(0.1, 12)) for _ in range(3)]
    origin = [draw(finite) for _ in range(3)]
    return Affine.from_parts(origin_mm=origin, direction=turn @ flip, spacing_mm=spacing)


@given(affines())
def test_ras_and_back(affine: Affine) -> None:
    np.testing.assert_allclose(Affine.from_ras(affine.to_ras()).matrix, affine.matrix, rtol=0, atol=1e-12)


@given(affines(), arrays(np.float64, 3, elements=st.floats(-600, 600)))
def test_ras_is_lps_with_two_signs_turned(affine: Affine, index: np.ndarray) -> None:
    ras = affine.to_ras() @ [*index, 1]
    np.testing.assert_allclose(ras[:3] * (-1, -1, 1), affine.apply(index), rtol=0, atol=1e-8)


@given(affines(), arrays(np.float64, 3, elements=st.floats(-600, 600)))
def test_the_inverse_leads_back(affine: Affine, index: np.ndarray) -> None:
    back = affine.inverse() @ [*affine.apply(index), 1]
    np.testing.assert_allclose(back[:3], index, rtol=0, atol=1e-6)


@given(affines())
def test_parts_make_the_whole(affine: Affine) -> None:
    again = Affine.from_parts(origin_mm=affine.origin_mm, direction=affine.direction, spacing_mm=affine.spacing_mm)
    np.testing.assert_allclose(again.matrix, affine.matrix, rtol=0, atol=1e-9)
    assert affine.is_orthogonal


@given(affines(), arrays(np.float64, 3, elements=st.floats(-50, 50)))
def test_a_shifted_grid_names_the_same_places(affine: Affine, index: np.ndarray) -> None:
    np.testing.assert_allclose(
        affine.shifted(index).apply((1, 2, 3)), affine.apply(index + np.array([1, 2, 3])), atol=1e-8
    )


@given(affines(), arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 5)))
def test_labels_carried_to_their_own_grid_are_a_copy(affine: Affine, labels: np.ndarray) -> None:
    on = VolumeGeometry(shape=labels.shape, affine=affine)
    np.testing.assert_array_equal(resample_labels(labels, affine, on), labels)


@given(
    affines(),
    arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 5)),
    st.permutations(range(3)),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_no_label_is_lost_between_turned_and_flipped_grids(
    affine: Affine, labels: np.ndarray, axes: list[int], flips: list[bool]
) -> None:
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for target, source in enumerate(axes):
        matrix[source, target] = -1 if flips[target] else 1
        matrix[source, 3] = labels.shape[source] - 1 if flips[target] else 0
    on = VolumeGeometry(shape=tuple(labels.shape[axis] for axis in axes), affine=Affine(affine.matrix @ matrix))
    there = resample_labels(labels, affine, on)
    back = resample_labels(there, on.affine, VolumeGeometry(shape=labels.shape, affine=affine))
    np.testing.assert_array_equal(back, labels)
    assert np.array_equal(np.bincount(there.ravel(), minlength=6), np.bincount(labels.ravel(), minlength=6))
