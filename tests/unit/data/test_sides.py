import dataclasses

import pytest
import torch

from medfuse.data.augment import Augmentation, AugmentOptions, flip
from medfuse.data.samples import sample_of
from medfuse.data.sides import names_a_side, swap_sides
from medfuse.domain import LabelSet
from medfuse.errors import ConfigError
from tests.parts import LABELS, SIZE, make_case


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("Nodule in the LEFT lower lobe, Right clear.", "Nodule in the RIGHT lower lobe, Left clear."),
        ("left-sided weakness, R > L", "right-sided weakness, L > R"),
        ("leftwards shift; rt. kidney", "rightwards shift; lt. kidney"),
        ("bright lesion, the cleft was left alone", "bright lesion, the cleft was right alone"),
        ("T1 axial, 5 l/min", "T1 axial, 5 l/min"),
    ],
)
def test_sides_are_swapped_as_words(text: str, swapped: str) -> None:
    assert swap_sides(text) == swapped
    assert swap_sides(swapped) == text


@pytest.mark.parametrize(
    ("name", "sided"),
    [("left_lung", True), ("hippocampus R", True), ("lung-rt", True), ("lesion_core", False), ("bright", False)],
)
def test_names_that_tell_sides_apart(name: str, sided: bool) -> None:
    assert names_a_side(name) is sided


def test_a_flip_mirrors_image_truth_and_text_and_undoes_itself() -> None:
    sample = dataclasses.replace(sample_of(make_case(1), SIZE, LABELS), text="left lung")
    once = flip(sample)
    assert torch.equal(once.image, sample.image.flip(1))
    assert torch.equal(once.segment_targets, sample.segment_targets.flip(0))
    assert once.text == "right lung"
    assert torch.equal(flip(once).image, sample.image)


def test_a_label_set_with_sides_is_not_flipped() -> None:
    with pytest.raises(ConfigError, match="left_lung"):
        Augmentation(AugmentOptions(flip_probability=0.5), LabelSet(segments=("left_lung", "right_lung")))


def test_a_zoomed_sample_trains_no_finding() -> None:
    sample = sample_of(make_case(1), SIZE, LABELS)
    zoomed = Augmentation(AugmentOptions(zoom_probability=1.0), LABELS)(sample, 3)
    assert sample.finding_mask.any()
    assert not zoomed.finding_mask.any()
    assert Augmentation(AugmentOptions(), LABELS)(sample, 3).finding_mask.any()
