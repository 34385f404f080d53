"""Segments that overlap come back to the source grid."""

import numpy as np
import pytest

from medfuse.domain import Affine, LabelSet, VolumeGeometry
from medfuse.inference.overlapping import restore_overlapping

LABELS = LabelSet(segments=("whole", "core"), overlapping=True)


def grid(n: int, spacing: float) -> VolumeGeometry:
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = (spacing - 1) / 2
    return VolumeGeometry(shape=(n, n, n), affine=Affine(matrix))


@pytest.mark.parametrize(("source", "voxels"), [(grid(8, 1.0), (64, 8)), (grid(4, 2.0), (8, 1))])
def test_each_segment_is_where_its_probability_is_a_half(source: VolumeGeometry, voxels: tuple[int, int]) -> None:
    probabilities = np.full((2, 8, 8, 8), 0.1, dtype=np.float32)
    probabilities[0, 2:6, 2:6, 2:6] = 0.9
    probabilities[1, 2:4, 2:4, 2:4] = 0.95
    made = restore_overlapping(probabilities, grid(8, 1.0), source, LABELS)
    assert tuple(int(made.mask(segment).sum()) for segment in made.segments) == voxels
    assert [segment.name for segment in made.segments] == ["whole", "core"]
    assert np.array_equal(made.label_map == 2, made.mask(made.segments[1]))
    assert [made.volume_mm3(segment) for segment in made.segments] == pytest.approx([64, 8])


def test_a_core_without_its_whole_is_kept_as_it_was_answered() -> None:
    probabilities = np.zeros((2, 8, 8, 8), dtype=np.float32)
    probabilities[1, 2:4, 2:4, 2:4] = 1
    made = restore_overlapping(probabilities, grid(8, 1.0), grid(8, 1.0), LABELS)
    assert [int(made.mask(segment).sum()) for segment in made.segments] == [0, 8]


def test_outside_the_model_grid_there_is_nothing() -> None:
    made = restore_overlapping(np.ones((2, 8, 8, 8), dtype=np.float32), grid(8, 1.0), grid(12, 1.0), LABELS)
    assert not made.mask(made.segments[0])[9:].any()
    assert made.mask(made.segments[0])[:7, :7, :7].all()
