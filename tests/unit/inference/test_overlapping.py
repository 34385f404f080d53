"""Segments that overlap come back to the source grid."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medfuse.data.collate import collate
from medfuse.data.samples import sample_of
from medfuse.domain import Affine, LabelSet, VolumeGeometry
from medfuse.inference.engines import PyTorchEngine
from medfuse.inference.overlapping import restore_overlapping
from medfuse.inference.restore import restore
from medfuse.inference.windows import answer_windows
from medfuse.preprocess import ChannelRule, Recipe
from tests.parts import SIZE, make_case, make_network

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


def test_windows_are_blended_segment_by_segment(tiny_bert: Path) -> None:
    network = make_network(tiny_bert, label_set=LABELS).eval()
    recipe = Recipe(channels=(ChannelRule(name="a"), ChannelRule(name="b")), spacing_mm=(1, 1, 1), size=SIZE)
    case = make_case(0, shape=(14, 16, 12))
    said = answer_windows(PyTorchEngine(network, SIZE), case, recipe, LABELS)
    with torch.no_grad():
        logits = network(collate([sample_of(case, SIZE, LABELS)], network.text_encoder.tokenize)).segment_logits  # type: ignore[union-attr]
    assert isinstance(said.class_scores, np.ndarray)
    assert said.class_scores.shape == (2, 14, 16, 12)
    np.testing.assert_allclose(said.class_scores, logits[0].sigmoid()[:, 1:15, :, 2:14], rtol=1e-4, atol=1e-5)
    place = VolumeGeometry(shape=(14, 16, 12), affine=Affine(np.eye(4)))
    made = restore(said.class_scores, place, place, LABELS)
    assert np.array_equal(made.mask(made.segments[0]), said.class_scores[0] >= 0.5)
    with pytest.raises(ValueError, match="3 classes for 2 segments"):
        restore(np.zeros((3, 14, 16, 12), dtype=np.float32), place, place, LABELS)
