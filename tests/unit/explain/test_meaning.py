"""Explanations find what the network is known to rest on, and find nothing in a network that has learnt nothing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from medfuse.data.samples import Case
from medfuse.explain.explanation import study_contributions
from medfuse.explain.faithfulness import likeness, shuffled, voxel_areas, word_areas
from medfuse.explain.maps import Method, voxel_weights
from medfuse.explain.reading import Reading, log_odds
from medfuse.explain.words import word_weights
from medfuse.inference.member import Member

MakeCase = Callable[..., Case]
BLOCK = (slice(9, 13), slice(3, 7), slice(9, 13))
BRIGHT, SMOKER = 0, 1


@pytest.fixture(scope="module")
def case(make_explained: MakeCase) -> Case:
    return make_explained(1000, bright=True, smokes=True)


@pytest.fixture(scope="module")
def readings(taught: Member, case: Case) -> list[Reading]:
    return [Reading.whole(taught, case)]


def test_the_network_has_learnt_both(taught: Member, make_explained: MakeCase) -> None:
    for index, (bright, smokes) in enumerate([(True, False), (False, True), (True, True), (False, False)]):
        one = make_explained(2000 + index, bright=bright, smokes=smokes)
        assert ((log_odds([Reading.whole(taught, one)], [one])[0] > 0) == [bright, smokes]).all()


def test_log_odds_are_those_of_scoring(taught: Member, readings: list[Reading], case: Case) -> None:
    scored = taught.answer(case)
    assert expit(log_odds(readings, [case])[0]) == pytest.approx([f.probability for f in scored.findings], abs=1e-6)
    twice = log_odds(readings * 2, [case])[0]
    assert twice == pytest.approx(log_odds(readings, [case])[0], abs=1e-6)


def test_each_finding_is_the_contribution_of_its_own_input(readings: list[Reading], case: Case) -> None:
    added = study_contributions(readings, case)
    image, text = added.of_inputs["ct"], added.of_inputs["text"]
    assert abs(image[BRIGHT]) > 3 * abs(text[BRIGHT])
    assert abs(text[SMOKER]) > 3 * abs(image[SMOKER])
    assert added.without_any + image + text == pytest.approx(added.with_all)
    assert added.with_all == pytest.approx(log_odds(readings, [case])[0], abs=1e-6)


def test_the_word_that_decides_weighs_most(readings: list[Reading], case: Case) -> None:
    found = word_weights(readings, case)
    words = [case.text[start:end] for start, end in found.spans]
    assert words == case.text.split()
    assert words[int(found.weights[:, SMOKER].argmax())] == "tobacco"
    assert found.weights[:, SMOKER].max() > 5 * np.abs(found.weights[:, BRIGHT]).max()


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_the_block_that_decides_stands_out(readings: list[Reading], case: Case, method: Method) -> None:
    weights = np.abs(voxel_weights(readings, case, method)[BRIGHT])
    inside = np.zeros(weights.shape, dtype=bool)
    inside[BLOCK] = True
    assert weights.shape == case.image.shape[1:]
    assert weights[inside].mean() > 3 * weights[~inside].mean()


def test_attention_is_a_share_of_what_was_looked_at(readings: list[Reading], case: Case) -> None:
    weights = voxel_weights(readings, case, "attention")
    assert weights.shape == (2, *case.image.shape[1:])
    assert weights.min() >= 0
    assert weights.max() > 0


def test_a_study_without_text_has_no_words(readings: list[Reading], case: Case) -> None:
    found = word_weights(readings, replace(case, text=""))
    assert (found.spans, found.weights.shape) == ((), (0, 2))


@pytest.mark.parametrize("kind", ["deletion", "insertion"])
def test_what_weighs_most_changes_the_answer_more_than_anything_else(
    taught: Member, make_explained: MakeCase, kind: str
) -> None:
    words, voxels = [], []
    for index in range(4):
        case = make_explained(3000 + index, bright=True, smokes=index % 2 == 0)
        readings = [Reading.whole(taught, case)]
        of_words = word_weights(readings, case).weights[:, SMOKER]
        words.append(word_areas(readings, case, SMOKER, of_words, kind, draws=3, seed=0))  # type: ignore[arg-type]
        of_voxels = voxel_weights(readings, case, "gradient")[BRIGHT]
        voxels.append(voxel_areas(readings, case, BRIGHT, of_voxels, kind, draws=3, seed=0))  # type: ignore[arg-type]
    for areas in (words, voxels):
        assert np.mean([area.weighted for area in areas]) > 1.2 * np.mean([area.shuffled for area in areas])


@pytest.mark.parametrize("method", ["gradient", "attention"])
def test_shuffled_weights_destroy_the_map(taught: Member, readings: list[Reading], case: Case, method: Method) -> None:
    own = voxel_weights(readings, case, method)[BRIGHT]
    before = {name: weight.clone() for name, weight in taught.network.named_parameters()}
    other = shuffled(taught, 1)
    theirs = voxel_weights([Reading.whole(other, case)], case, method)[BRIGHT]
    assert likeness(own, own) == pytest.approx(1)
    assert abs(likeness(own, theirs)) < 0.5
    assert all((weight == before[name]).all() for name, weight in taught.network.named_parameters())
