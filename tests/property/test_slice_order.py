"""Slices are ordered by where they are: neither file order, nor names, nor instance numbers matter."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medfuse.domain import Modality, Series
from medfuse.errors import UnreadableSeriesError
from medfuse.ingest import read_volume, source_datasets
from medfuse.ingest.dicom.stack import Frame, make_stack
from tests.unit.ingest.made_dicom import ramp, save, slices, uid

turns = st.tuples(*[st.floats(-180, 180)] * 3)


def frames(turn: tuple[float, float, float], count: int, gap: float) -> list[Frame]:
    matrix = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    return [
        Frame(
            path=Path(f"{k}"),
            position_mm=tuple(np.round(np.array([5.0, -7.0, 11.0]) + k * gap * matrix[:, 2], 6).tolist()),
            orientation=tuple(np.round(matrix[:, :2].T.ravel(), 6).tolist()),
            spacing_mm=(1.5, 0.75),
            shape=(4, 5),
        )
        for k in range(count)
    ]


@given(turns, st.integers(2, 12), st.floats(0.3, 10), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_stack(turn, count: int, gap: float, random) -> None:
    ordered = frames(turn, count, gap)
    shuffled = random.sample(ordered, count)
    stack = make_stack(shuffled)
    assert [frame.path.name for frame in stack.frames] == [str(k) for k in range(count)]
    for k, frame in enumerate(stack.frames):
        np.testing.assert_allclose(stack.geometry.affine.apply((0, 0, k)), frame.position_mm, atol=1e-4)
    i_axis, j_axis, k_axis = stack.geometry.affine.direction.T
    assert np.cross(i_axis, j_axis) @ k_axis > 0.999


@given(turns, st.integers(4, 12), st.floats(0.3, 10), st.data())
def test_a_slice_missing_inside_is_always_seen(turn, count: int, gap: float, data: st.DataObject) -> None:
    stack = frames(turn, count, gap)
    del stack[data.draw(st.integers(1, count - 2))]
    with pytest.raises(UnreadableSeriesError) as caught:
        make_stack(stack)
    assert caught.value.reason == "MISSING_SLICES"
    whole = make_stack(stack, allow_gaps=True)
    assert (whole.geometry.shape[2], whole.n_missing) == (count, 1)


@given(turns, st.integers(2, 8), st.floats(0.3, 10), st.data())
def test_a_repeated_slice_is_always_seen(turn, count: int, gap: float, data: st.DataObject) -> None:
    stack = frames(turn, count, gap)
    stack.append(stack[data.draw(st.integers(0, count - 1))])
    with pytest.raises(UnreadableSeriesError) as caught:
        make_stack(stack)
    assert caught.value.reason == "DUPLICATE_POSITIONS"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations(range(4)), st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_files_in_any_order_with_any_instance_numbers(order: list[int], numbers: list[int]) -> None:
    voxels = ramp((5, 4, 4))
    datasets = slices(voxels)
    for number, dataset in zip(numbers, datasets, strict=True):
        dataset.InstanceNumber = number
    with tempfile.TemporaryDirectory() as folder:
        files = [save(datasets[k], Path(folder) / f"{name}") for name, k in enumerate(order)]
        series = Series(series_instance_uid=uid("series"), modality=Modality.CT, files=tuple(files))
        volume = read_volume(series)
        sources = source_datasets(series)
    np.testing.assert_array_equal(volume.voxels, voxels)
    for k, dataset in enumerate(sources):
        np.testing.assert_allclose(volume.geometry.affine.apply((0, 0, k)), list(dataset.ImagePositionPatient))
