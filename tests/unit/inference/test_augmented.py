"""Views of a study, and their answers brought back to its grid."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medfuse.domain import LabelSet, Target, TargetKind
from medfuse.errors import UsageError
from medfuse.inference import Predictor
from medfuse.inference.augmented import View, may_flip, views_of
from medfuse.inference.member import Member
from medfuse.inference.ranked import RankedScores
from medfuse.model.checkpoint import Checkpoint
from medfuse.preprocess import ChannelRule, Recipe
from tests.parts import LABELS, SIZE, make_case, make_network, make_spec

RECIPE = Recipe(channels=(ChannelRule(name="a"), ChannelRule(name="b")), spacing_mm=(1, 1, 1), size=SIZE)
FLIPPED = {"training": {"augment": {"flip_probability": 0.5}}}


def checkpoint(tiny_bert: Path, label_set: LabelSet = LABELS, **changes: object) -> Checkpoint:
    made = Checkpoint(name="made", label_set=label_set, recipe=RECIPE, spec=make_spec(tiny_bert), config=FLIPPED)
    return replace(made, **changes)


def test_the_first_view_is_the_study_as_it_is(tiny_bert: Path) -> None:
    case = make_case()
    views = views_of(checkpoint(tiny_bert), 0)
    assert views == (View(),)
    assert views[0].of(case) is case


def test_flips_come_first_and_no_view_twice(tiny_bert: Path) -> None:
    views = views_of(checkpoint(tiny_bert), 100)
    assert views[1] == View(flipped=True)
    assert len(views) == len(set(views)) == 54
    without = views_of(checkpoint(tiny_bert, config={}), 100)
    assert len(without) == 27
    assert not any(view.flipped for view in without)


def test_what_names_a_side_is_not_flipped(tiny_bert: Path) -> None:
    assert may_flip(checkpoint(tiny_bert))
    sided = Target(name="side", kind=TargetKind.CLASSES, classes=("left", "right"))
    for labels in (
        replace(LABELS, findings=("left_effusion",)),
        replace(LABELS, segments=("right lung",)),
        replace(LABELS, targets=(sided,)),
    ):
        assert not may_flip(checkpoint(tiny_bert, labels))


@pytest.mark.parametrize("view", [View(flipped=True), View(shift=(2, 0, -2)), View(flipped=True, shift=(-2, 2, 0))])
def test_scores_come_back_to_where_the_study_has_them(view: View) -> None:
    case = make_case()
    seen = view.of(case)
    scores = np.stack([seen.image[0], seen.image[1]])
    back = view.undo(scores)
    assert back is not None
    inner = (slice(None), *(slice(4, -4) for _ in range(3)))
    assert np.array_equal(back[inner], case.image[inner])
    assert back.shape == case.image.shape
    assert not np.array_equal(seen.image, case.image)


def test_ranked_scores_come_back_too() -> None:
    view = View(flipped=True, shift=(0, 2, 0))
    ranked = np.random.default_rng(0).integers(0, 5, (2, 6, 7, 8), dtype=np.uint8)
    back = view.undo(RankedScores(classes=5, ranked=ranked, probabilities=ranked.astype(np.float16)))
    assert isinstance(back, RankedScores)
    assert np.array_equal(back.ranked[:, :, :5], ranked[:, ::-1, 2:])
    assert np.array_equal(back.ranked, back.probabilities.astype(np.uint8))


def test_a_shift_uncovers_the_floor() -> None:
    case = make_case()
    seen = View(shift=(2, 0, 0)).of(case)
    assert (seen.image[0, :2] == case.image[0].min()).all()
    assert np.array_equal(seen.image[:, 2:], case.image[:, :-2])


def test_a_shift_beyond_the_grid_leaves_the_floor() -> None:
    case = make_case(shape=(1, 18, 12))
    assert np.ptp(View(shift=(2, 0, 0)).of(case).image[0]) == 0


def test_a_flip_swaps_the_sides_in_the_text_and_says_that_its_words_moved() -> None:
    case = replace(make_case(), text="Mass in the left lung.")
    view = View(flipped=True)
    assert view.of(case).text == "Mass in the right lung."
    assert not view.keeps_words(case.text)
    assert view.keeps_words("Cough.")
    assert View(shift=(2, 0, 0)).keeps_words(case.text)


def test_every_member_answers_every_view(tiny_bert: Path) -> None:
    member = Member(checkpoint(tiny_bert), make_network(tiny_bert), torch.device("cpu"))
    case = replace(make_case(), text="Mass in the left lung.")
    predictor = Predictor([member], augmentations=2)
    answers = list(predictor._answers(case))
    assert predictor.is_ensemble
    assert [bool(answer.findings[0].evidence) for answer in answers] == [True, False, True]
    assert {answer.class_scores.shape for answer in answers} == {(3, *case.image.shape[1:])}
    own = [member.answer(view.of(case)).findings[0].probability for view in predictor.views]
    assert [answer.findings[0].probability for answer in answers] == own
    assert len(set(own)) == 3


def test_a_negative_number_is_refused(tiny_bert: Path) -> None:
    member = Member(checkpoint(tiny_bert), make_network(tiny_bert), torch.device("cpu"))
    with pytest.raises(UsageError, match="augmentations is -1"):
        Predictor([member], augmentations=-1)
