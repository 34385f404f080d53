"""What a checkpoint learns about itself from held-out answers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medfuse.errors import UsageError
from medfuse.inference.member import Member
from medfuse.metrics.operating_point import PointRule
from medfuse.model.checkpoint import Checkpoint
from medfuse.preprocess import ChannelRule, Recipe
from medfuse.training.calibrate import (
    Answers,
    CalibrationOptions,
    calibrate,
    learn_training_set,
    probabilities_of,
    scalings,
    together,
)
from tests.parts import LABELS, SIZE, make_case, make_network, make_spec

RECIPE = Recipe(channels=(ChannelRule(name="a"), ChannelRule(name="b")), spacing_mm=(1, 1, 1), size=SIZE)


def answers(n: int = 60) -> Answers:
    random = np.random.default_rng(0)
    labels = np.stack([random.random(n) < 0.5, np.ones(n)], axis=1).astype(float)
    labels[::7, 0] = np.nan
    logits = 6 * (np.nan_to_num(labels, nan=0.5) - 0.3) + random.normal(0, 4, (n, 2))
    return Answers(logits=logits, labels=labels, distances=(1.0, 1.1))


@pytest.fixture
def member(tiny_bert: Path) -> Member:
    checkpoint = Checkpoint(name="made", label_set=LABELS, recipe=RECIPE, spec=make_spec(tiny_bert))
    return Member(checkpoint, make_network(tiny_bert), torch.device("cpu"))


def test_a_finding_whose_studies_are_all_alike_is_not_scaled() -> None:
    fitted = scalings(("large", "elderly"), answers(), CalibrationOptions())
    assert fitted["large"].temperature is not None
    assert not fitted["elderly"].is_fitted
    assert fitted["elderly"].operating_point is None


def test_platt_moves_the_mean_to_the_prevalence() -> None:
    held_out = answers()
    fitted = scalings(("large",), held_out, CalibrationOptions(method="platt"))["large"]
    known = np.isfinite(held_out.labels[:, 0])
    said = probabilities_of(fitted, held_out.logits[known, 0])
    assert fitted.slope is not None
    assert said.mean() == pytest.approx(held_out.labels[known, 0].mean(), abs=0.02)


def test_the_operating_point_follows_the_rule() -> None:
    held_out = answers()
    options = CalibrationOptions(rule=PointRule.parse("sensitivity=1"))
    fitted = scalings(("large",), held_out, options)["large"]
    known = held_out.labels[:, 0] == 1
    assert fitted.operating_point is not None
    assert (probabilities_of(fitted, held_out.logits[known, 0]) >= fitted.operating_point).all()


def test_answers_of_several_networks_go_together() -> None:
    both = together([answers(10), answers(20)])
    assert both.logits.shape == (30, 2)
    assert both.distances == (1.0, 1.1) * 2


def test_a_member_answers_as_in_scoring_and_learns_its_training_set(member: Member) -> None:
    cases = [make_case(index) for index in range(10)]
    seen: list[int] = []
    learn_training_set(member, cases[:3])
    assert member.training_set is None
    learn_training_set(member, cases, lambda: seen.append(1))
    assert member.training_set is not None
    assert (member.training_set.studies, len(seen)) == (10, 10)
    told = Answers.of(member, cases[:2])
    assert told.logits[0] == pytest.approx(member.answer(cases[0]).logits)
    assert np.array_equal(told.labels[:, 0], [0.0, 1.0])
    assert np.isnan(told.labels[:, 1]).all()
    assert len(told.distances) == 2
    assert Answers.of(member, []).logits.shape == (0, 2)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no checkpoint"):
        calibrate(tmp_path, tmp_path / "manifest.csv")
