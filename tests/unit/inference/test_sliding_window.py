import numpy as np
import pytest
import torch

from medfuse.inference.sliding_window import Blend, merge_findings, window_starts


@pytest.mark.parametrize("shape", [(16, 16, 16), (5, 40, 17), (33, 16, 100)])
def test_windows_cover_every_voxel_and_stay_inside_where_they_can(shape: tuple[int, int, int]) -> None:
    size = (16, 16, 16)
    seen = np.zeros(shape, dtype=int)
    for start in window_starts(shape, size):
        block = tuple(slice(max(s, 0), min(s + m, n)) for s, m, n in zip(start, size, shape, strict=True))
        assert all(s >= 0 and s + m <= n for s, m, n in zip(start, size, shape, strict=True) if n >= m)
        seen[block] += 1
    assert seen.min() >= 1


def test_a_small_study_is_one_centred_window() -> None:
    assert window_starts((10, 16, 12), (16, 16, 16)) == [(-3, 0, -2)]


def test_blending_windows_of_one_field_gives_the_field_back() -> None:
    shape, size = (20, 25, 10), (16, 16, 16)
    field = torch.rand(3, *(n + 32 for n in shape))
    blend = Blend.over(3, shape)
    for start in window_starts(shape, size):
        block = tuple(slice(s + 16, s + 16 + m) for s, m in zip(start, size, strict=True))
        blend.add(field[(slice(None), *block)], start)
    inner = field[:, 16:36, 16:41, 16:26].numpy()
    np.testing.assert_allclose(blend.mean(), inner, atol=1e-5)


def test_the_highest_window_answers_a_finding() -> None:
    logits, window = merge_findings([torch.tensor([0.1, 2.0]), torch.tensor([3.0, -1.0])])
    assert logits.tolist() == [3.0, 2.0]
    assert window.tolist() == [1, 0]
