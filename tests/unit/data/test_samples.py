from dataclasses import replace

import numpy as np
import pytest
import torch

from medfuse.data.augment import Augmentation, AugmentOptions
from medfuse.data.loaders import CaseSamples, EpochBatches
from medfuse.data.samples import sample_of
from medfuse.domain import LabelSet, LabelValue, Target, TargetKind
from medfuse.errors import ConfigError
from tests.parts import LABELS, SIZE, make_case


def test_only_present_and_absent_are_assessed() -> None:
    case = make_case(1)
    values = {"large": LabelValue.UNCERTAIN, "elderly": LabelValue.PRESENT}
    case = type(case)(**{**{f: getattr(case, f) for f in case.__dataclass_fields__}, "labels": values})
    sample = sample_of(case, SIZE, LABELS)
    assert sample.finding_mask.tolist() == [False, True]
    assert sample.finding_targets.tolist() == [0.0, 1.0]


def test_a_sample_pads_with_each_channels_floor_and_with_background() -> None:
    case = make_case()
    sample = sample_of(case, SIZE, LABELS)
    assert sample.image[0, 0, 8, 8] == pytest.approx(float(case.image[0].min()))
    assert sample.image[1, 0, 8, 8] == pytest.approx(float(case.image[1].min()))
    assert sample.segment_targets[0].eq(0).all()
    assert int((sample.segment_targets > 0).sum()) == int((case.truth[:, 1:17] > 0).sum())  # type: ignore[index]


def test_augmentation_follows_from_its_seed_and_moves_image_and_truth_alike() -> None:
    augment = Augmentation(AugmentOptions(spatial_probability=1.0, noise=0.0, contrast=0.0, gain=0.0), LABELS)
    case = make_case(2)
    clean = np.stack([(case.truth == 1).astype(np.float32), (case.truth == 2).astype(np.float32)])
    case = type(case)(**{**{f: getattr(case, f) for f in case.__dataclass_fields__}, "image": clean})
    sample = sample_of(case, SIZE, LABELS)
    one, same, other = augment(sample, 5), augment(sample, 5), augment(sample, 6)
    assert torch.equal(one.image, same.image)
    assert not torch.equal(one.image, other.image)
    assert not torch.equal(one.segment_targets, sample.segment_targets)
    for number in (1, 2):
        mask, image = one.segment_targets == number, one.image[number - 1] > 0.5
        assert 2 * (mask & image).sum() / (mask.sum() + image.sum()) > 0.8


def test_an_epochs_samples_do_not_depend_on_what_came_before() -> None:
    def samples() -> CaseSamples:
        return CaseSamples(
            [make_case(n) for n in range(4)], SIZE, LABELS, augmentation=Augmentation(AugmentOptions(), LABELS)
        )

    first, second = samples(), samples()
    for epoch in (0, 1):
        first.epoch = epoch
        images = [first[n].image for n in range(4)]
    second.epoch = 1
    assert torch.equal(images[2], second[2].image)


def test_every_epoch_has_its_own_order_and_each_study_at_most_once() -> None:
    order = EpochBatches(10, 3, seed=1)
    first = list(order)
    assert list(order) == first
    order.epoch = 1
    assert list(order) != first
    flat = [index for batch in first for index in batch]
    assert len(flat) == len(set(flat)) == 9


def test_fewer_studies_than_a_batch_still_make_one() -> None:
    assert [len(batch) for batch in EpochBatches(2, 4, seed=0)] == [2]


AGE = Target(name="age", kind=TargetKind.NUMBER)
SIDE = Target(name="worse", kind=TargetKind.CLASSES, classes=("left lung", "right lung"))


def test_targets_that_are_not_known_are_masked() -> None:
    labels = LabelSet(targets=(SIDE, AGE))
    sample = sample_of(replace(make_case(), targets={"age": 61.0}), SIZE, labels)
    assert sample.target_values.tolist() == [0, 61]
    assert sample.target_mask.tolist() == [False, True]
    assert sample_of(make_case(), SIZE, LABELS).target_mask.shape == (0,)


def test_a_zoomed_sample_teaches_no_target() -> None:
    labels = LabelSet(targets=(AGE,), segments=LABELS.segments)
    sample = sample_of(replace(make_case(), targets={"age": 61.0}), SIZE, labels)
    for share in (0.0, 1.0):
        augment = Augmentation(AugmentOptions(zoom_probability=share), labels)
        assert augment(sample, 1).target_mask.tolist() == [share == 0]


def test_a_target_that_names_sides_is_not_flipped() -> None:
    with pytest.raises(ConfigError, match="'left lung' names a side"):
        Augmentation(AugmentOptions(flip_probability=0.5), LabelSet(targets=(SIDE,)))
