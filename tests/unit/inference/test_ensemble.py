"""The mean of members, and members that do not belong together."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medfuse.domain import Evidence, Finding, LabelValue, ModelIdentity, Study
from medfuse.errors import CheckpointError, UsageError
from medfuse.inference import Predictor, predictor
from medfuse.inference.ensemble import combined_identity, merge
from medfuse.inference.member import Answer, Member
from medfuse.model.checkpoint import Checkpoint, ConformalThresholds
from medfuse.preprocess import ChannelRule, Recipe
from tests.parts import LABELS, SIZE, make_network, make_spec

RECIPE = Recipe(channels=(ChannelRule(name="a"), ChannelRule(name="b")), spacing_mm=(1, 1, 1), size=SIZE)


def answer(probability: float, point: float | None, score: float, *words: tuple[int, int, float]) -> Answer:
    evidence = tuple(Evidence(start=start, end=end, weight=weight) for start, end, weight in words)
    finding = Finding(
        name="large", probability=probability, operating_point=point, calibrated=point is not None, evidence=evidence
    )
    return Answer(findings=(finding,), class_scores=np.full((2, 1, 1, 1), score, dtype=np.float32))


def test_members_are_averaged_and_their_spread_is_told() -> None:
    merged = merge([answer(0.2, 0.4, 0.1, (0, 3, 1.0)), answer(0.6, 0.6, 0.3, (0, 3, 1.0), (4, 8, 1.0))])
    (finding,) = merged.findings
    assert (finding.probability, finding.operating_point, finding.spread) == pytest.approx((0.4, 0.5, 0.2))
    assert finding.calibrated
    assert [word.weight for word in finding.evidence] == [1.0, 0.5]
    assert merged.class_scores.max() == pytest.approx(0.2)


def test_one_member_is_itself() -> None:
    alone = answer(0.2, None, 0.1)
    assert merge([alone]).findings == alone.findings
    assert alone.findings[0].spread is None


def test_a_member_that_is_not_calibrated_uncalibrates_the_mean() -> None:
    (finding,) = merge([answer(0.2, None, 0.1), answer(0.6, 0.6, 0.3)]).findings
    assert not finding.calibrated
    assert finding.operating_point == 0.6


def test_the_mean_has_its_own_prediction_set_or_what_no_member_rules_out() -> None:
    sure, unsure = (LabelValue.PRESENT,), (LabelValue.PRESENT, LabelValue.ABSENT)
    answers = [
        replace(one, findings=(replace(one.findings[0], prediction_set=kept),))
        for one, kept in ((answer(0.7, None, 0.1), sure), (answer(0.9, None, 0.3), unsure))
    ]
    assert merge(answers).findings[0].prediction_set == unsure
    thresholds = {"large": ConformalThresholds(alpha=0.1, present=0.25, absent=0.5)}
    assert merge(answers, thresholds).findings[0].prediction_set == sure


def test_the_identity_follows_from_all_members() -> None:
    ids = [ModelIdentity(name="run", version="1", weights_sha256=letter, config_sha256=letter) for letter in "abc"]
    assert combined_identity(ids[:1]) == ids[0]
    assert combined_identity(ids).name == "run"
    assert combined_identity(ids) == combined_identity(ids)
    assert len({combined_identity(part).weights_sha256 for part in (ids, ids[:2], ids[1:])}) == 3


def member(tiny_bert: Path, seed: int = 0, **changes: object) -> Member:
    import torch

    network = make_network(tiny_bert)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * seed)
    checkpoint = Checkpoint(
        name="made", label_set=LABELS, recipe=RECIPE, spec=make_spec(tiny_bert), weights_sha256=str(seed)
    )
    return Member(replace(checkpoint, **changes), network, torch.device("cpu"))


def test_members_that_differ_are_refused(tiny_bert: Path) -> None:
    coarse = replace(RECIPE, spacing_mm=(2, 2, 2))
    with pytest.raises(CheckpointError, match="member 1 of the ensemble differs from member 0 in its recipe"):
        Predictor([member(tiny_bert), member(tiny_bert, recipe=coarse)])
    other = replace(LABELS, findings=("small",))
    with pytest.raises(CheckpointError, match="label_set"):
        Predictor([member(tiny_bert), member(tiny_bert, label_set=other)])


@pytest.mark.parametrize(
    ("without", "said"),
    [(["pet"], "no input pet; it takes: image, a, b, text"), (["a", "b", "text"], "would see nothing")],
)
def test_what_cannot_be_kept_back_is_refused(tiny_bert: Path, without: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Predictor([member(tiny_bert)], without=without)


def test_a_study_is_prepared_once_for_all_members(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StopError(Exception):
        """Enough was seen."""

    prepared: list[str] = []

    def prepare(study: Study, recipe: Recipe) -> SimpleNamespace:
        prepared.append(study.study_instance_uid)
        return SimpleNamespace(study=study, grid=None, source_grid=None, timings={}, text="")

    def answers(one: Member, case: object) -> Answer:
        answered.append(one)
        return answer(0.5, None, 0.5)

    answered: list[Member] = []
    monkeypatch.setattr(predictor, "prepare_study", prepare)
    monkeypatch.setattr(Predictor, "_case", lambda self, given: given)
    monkeypatch.setattr(Member, "answer", answers)

    def stop(*_: object) -> object:
        raise StopError

    monkeypatch.setattr(predictor, "restore", stop)
    scorer = Predictor([member(tiny_bert, 0), member(tiny_bert, 1), member(tiny_bert, 2)])
    with pytest.raises(StopError):
        scorer.predict(Study(study_instance_uid="1.2", patient_key="p", path=Path()))
    assert prepared == ["1.2"]
    assert answered == list(scorer.members)
