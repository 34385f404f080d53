"""Blocks of studies that are larger than the network's input, and what they teach."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from medfuse.data.blocks import MOST_VOXELS, BlockOptions, Blocks, foreground_of
from medfuse.data.loaders import CaseSamples
from medfuse.data.samples import Case, sample_of
from medfuse.domain import LabelSet, LabelValue, Target, TargetKind
from medfuse.errors import ConfigError
from medfuse.tensors import IGNORED
from tests.parts import LABELS, SIZE, make_case

SMALL = (8, 8, 8)
LARGE = (40, 20, 6)
"""Longer than the block along two axes, shorter along the third."""


def large(present: bool = True, **changes: Any) -> Case:
    """A case with a large first and a tiny second segment near one end."""
    truth = np.zeros(LARGE, dtype=np.uint8)
    truth[30:40, 10:20] = 1
    truth[38, 19, 5] = 2
    labels = {"large": LabelValue.PRESENT if present else LabelValue.ABSENT, "elderly": LabelValue.NOT_ASSESSED}
    return replace(make_case(0, shape=LARGE), truth=truth, labels=labels, **changes)


def blocks(case: Case, share: float = 1 / 3, **options: Any) -> Blocks:
    return Blocks([case], SMALL, BlockOptions(foreground_share=share, **options), seed=5)


def starts(made: Blocks, epochs: int = 300) -> list[tuple[int, int, int]]:
    return [made.start(epoch, 0) for epoch in range(epochs)]


def test_a_study_that_fits_lies_centred_as_in_scoring() -> None:
    samples = CaseSamples([make_case(1, shape=(14, 16, 12))], SIZE, LABELS, blocks=BlockOptions(foreground_share=1.0))
    same = CaseSamples([make_case(1, shape=(14, 16, 12))], SIZE, LABELS)
    for epoch in range(3):
        samples.epoch = epoch
        assert torch.equal(samples[0].image, same[0].image)
        assert torch.equal(samples[0].finding_mask, same[0].finding_mask)


def test_blocks_of_a_larger_study_lie_in_it_everywhere_and_short_axes_stay_centred() -> None:
    found = starts(blocks(large(), share=0.0))
    assert {k for _, _, k in found} == {-1}
    assert {i for i, _, _ in found} == set(range(33))
    assert {j for _, j, _ in found} == set(range(13))


def test_a_block_follows_from_seed_epoch_and_index_alone() -> None:
    made = blocks(large())
    assert [made.start(epoch, 0) for epoch in (3, 1, 3)] == [starts(made, 4)[epoch] for epoch in (3, 1, 3)]
    assert starts(made) != starts(Blocks([large()], SMALL, BlockOptions(), seed=6))
    one, other = (CaseSamples([large()] * 2, SMALL, LABELS, seed=5, blocks=BlockOptions()) for _ in range(2))
    first = one[1].image
    one.epoch = other.epoch = 2
    assert torch.equal(one[1].image, other[1].image)
    assert not torch.equal(one[1].image, first)
    assert not torch.equal(one[0].image, one[1].image)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0.0, 0.04), (1 / 3, 0.15, 0.35), (1.0, 0.5, 1.0)])
def test_a_share_of_the_blocks_shows_a_segment_and_a_small_one_as_often_as_a_large_one(
    share: float, least: float, most: float
) -> None:
    case = large()
    samples = [sample_of(case, SMALL, LABELS, start=start) for start in starts(blocks(case, share))]
    tiny = np.mean([bool((sample.segment_targets == 2).any()) for sample in samples])
    assert least <= tiny <= most
    if share == 1:
        assert all((sample.segment_targets > 0).any() for sample in samples)


@pytest.mark.parametrize(
    ("present", "options", "truth", "counts"),
    [
        (True, {}, "elsewhere", False),
        (True, {}, "here", True),
        (False, {}, "elsewhere", True),
        (True, {"findings": "always"}, "elsewhere", True),
        (True, {}, "nobody delineated", True),
        (True, {}, "nothing there", True),
        (True, {}, "unknown here", False),
    ],
)
def test_a_present_finding_counts_where_the_block_may_show_it(
    present: bool, options: dict[str, Any], truth: str, counts: bool
) -> None:
    case = large(present)
    assert case.truth is not None
    if truth == "nobody delineated":
        case = replace(case, truth=None)
    elif truth == "nothing there":
        case = replace(case, truth=np.zeros_like(case.truth))
    elif truth == "unknown here":
        unknown = case.truth.copy()
        unknown[:10] = IGNORED
        case = replace(case, truth=unknown)
    start = (32, 10, -1) if truth == "here" else (0, 0, -1)
    sample = blocks(case, **options).taught(sample_of(case, SMALL, LABELS, start=start), 0)
    assert sample.finding_mask.tolist() == [counts, False]


def test_voxels_of_each_segment_are_kept_and_unknown_ones_not() -> None:
    truth = np.zeros((20, 20, 20), dtype=np.uint8)
    truth[:10] = 1
    truth[15, 3, 4] = 3
    truth[18] = IGNORED
    first, third = foreground_of(truth)
    assert len(first) == MOST_VOXELS
    assert (truth.ravel()[first] == 1).all()
    assert first.max() > 3900
    assert third.tolist() == [np.ravel_multi_index((15, 3, 4), truth.shape)]
    assert foreground_of(np.zeros_like(truth)) == ()


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(ConfigError, match=r"training\.blocks\.foreground_share"):
        BlockOptions(foreground_share=share)


def test_a_target_counts_where_a_present_finding_does() -> None:
    labels = LabelSet(segments=LABELS.segments, targets=(Target(name="age", kind=TargetKind.NUMBER),))
    case = large(targets={"age": 61.0})
    for start, shown in (((0, 0, 0), False), ((32, 12, 0), True)):
        sample = sample_of(case, SMALL, labels, start=start)
        assert sample.target_mask.tolist() == [True]
        assert blocks(case).taught(sample, 0).target_mask.tolist() == [shown]
        assert blocks(case, findings="always").taught(sample, 0).target_mask.tolist() == [True]
