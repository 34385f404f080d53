"""Classes, grades and numbers: what the outputs mean, and what is set from the training set."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medfuse.domain import LabelSet, Target, TargetKind
from medfuse.heads import TargetHead
from medfuse.heads.targets import mean_outputs, mean_prediction, read_out, shown_in
from medfuse.model.checkpoint import Checkpoint, load, save, text_weights_sha256
from medfuse.preprocess import ChannelRule, Recipe
from medfuse.tensors import FusedFeatures, ModalityFeatures
from tests.parts import LABELS, SIZE, make_batch, make_network, make_spec

WIDTH = 16
SUBTYPE = Target(name="subtype", kind=TargetKind.CLASSES, classes=("a", "b", "c"))
GRADE = Target(name="grade", kind=TargetKind.GRADES, classes=("0", "1", "2", "3"))
AGE = Target(name="age", kind=TargetKind.NUMBER, unit="years")
TARGETS = (SUBTYPE, GRADE, AGE)


def features(studies: int = 3) -> FusedFeatures:
    tokens = torch.randn(studies, 4, WIDTH, generator=torch.Generator().manual_seed(0))
    here = torch.ones(studies, dtype=torch.bool)
    image = ModalityFeatures(tokens=tokens, mask=here[:, None].expand(studies, 4), present=here)
    return FusedFeatures(modalities={"image": image})


def head(**options: float) -> TargetHead:
    torch.manual_seed(0)
    return TargetHead(("image",), WIDTH, targets=TARGETS, **options).eval()  # type: ignore[arg-type]


def mute(head: TargetHead) -> TargetHead:
    """A head that has learnt nothing but what `fit` told it."""
    for weight in head.read_out["all"].weights:  # type: ignore[union-attr]
        torch.nn.init.zeros_(weight)
    return head


def known(values: list[list[float]], mask: list[list[bool]] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    told = torch.tensor(values)
    return told, torch.ones_like(told, dtype=torch.bool) if mask is None else torch.tensor(mask)


def test_what_has_learnt_nothing_says_how_frequent_each_answer_is() -> None:
    made = mute(head())
    subtypes, grades, ages = [0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1, 2, 3], [40, 60, 50, 50, 50, 50, 50, 50]
    made.fit(*known([[float(v) for v in row] for row in zip(subtypes, grades, ages, strict=True)]))
    outputs = made(features(), None, None)
    subtype, grade, age = (read_out(target, outputs[target.name][0]) for target in TARGETS)
    assert subtype.probabilities == pytest.approx((0.5, 0.25, 0.25), abs=1e-5)
    assert grade.probabilities == pytest.approx((0.5, 0.25, 0.125, 0.125), abs=1e-5)
    assert grade.value == pytest.approx(0.25 + 0.25 + 0.375, abs=1e-4)
    assert age.value == pytest.approx(50, abs=1e-4)
    assert (subtype.most_probable, grade.most_probable, age.most_probable) == ("a", "0", None)
    assert (subtype.value, age.unit, age.probabilities) == (None, "years", ())


def test_a_number_is_learnt_in_deviations_of_the_training_set() -> None:
    made, wide = head(), head()
    made.fit(*known([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]))
    wide.fit(*known([[0.0, 0.0, 900.0], [0.0, 0.0, 1100.0]]))
    standard, scaled = (one(features(), None, None)["age"] for one in (made, wide))
    torch.testing.assert_close(scaled, 1000 + 100 * standard)
    assert {"mean", "deviation"} <= set(wide.state_dict())


def test_what_is_not_known_is_left_alone() -> None:
    made = head()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.fit(*known([[2.0, 3.0, 70.0], [1.0, 2.0, 60.0]], [[False] * 3] * 2))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    made.fit(*known([[0.0, 0.0, 70.0], [0.0, 0.0, 5.0]], [[True, True, True], [True, True, False]]))
    assert (made.mean[2].item(), made.deviation[2].item()) == (70, 1)


def test_grades_that_nobody_has_keep_their_order_and_a_chance() -> None:
    made = mute(head())
    made.fit(*known([[0.0, 3.0, 0.0], [0.0, 0.0, 0.0]]))
    said = read_out(GRADE, made(features(), None, None)["grade"][0])
    assert all(probability > 0 for probability in said.probabilities)
    assert sum(said.probabilities) == pytest.approx(1)


def test_no_weights_whatever_turn_grades_around() -> None:
    made = head()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=3.0)
    outputs = made(features(8), None, None)["grade"]
    assert (outputs.diff(dim=1) <= 0).all()
    assert all(min(read_out(GRADE, row).probabilities) >= 0 for row in outputs)


def test_windows_count_by_what_they_show() -> None:
    windows = [{"age": torch.tensor([10.0])}, {"age": torch.tensor([20.0])}]
    assert mean_outputs(windows, [1.0, 3.0])["age"].tolist() == [17.5]
    assert mean_outputs(windows, [1e-6, 1e-6])["age"].tolist() == [15.0]


def test_what_shows_nothing_of_the_segments_weighs_little(tiny_bert: Path) -> None:
    labels = LabelSet(segments=LABELS.segments, targets=TARGETS)
    network = make_network(tiny_bert, label_set=labels).eval()
    batch = make_batch(network, 2)
    output = network(batch)
    assert output.segment_logits is not None
    scores = torch.zeros_like(output.segment_logits)
    scores[0, 0], scores[1, 0] = 50.0, -50.0
    shown = shown_in(type(output)(**{**_fields(output), "segment_logits": scores}))
    assert shown.tolist() == pytest.approx([1e-6, 1.0])
    assert shown_in(type(output)(**{**_fields(output), "segment_logits": None})).tolist() == [1, 1]


def _fields(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}  # type: ignore[attr-defined]


def test_an_ensemble_says_the_mean() -> None:
    outputs = ([2.0, 0.0, -1.0], [-2.0, -3.0, -4.0])
    said = [read_out(GRADE, torch.tensor(one)) for one in outputs]
    both = mean_prediction(said)
    assert both.probabilities[0] == pytest.approx((said[0].probabilities[0] + said[1].probabilities[0]) / 2)
    assert both.value == pytest.approx(sum(k * p for k, p in enumerate(both.probabilities)))
    ages = mean_prediction([read_out(AGE, torch.tensor([value])) for value in (60.0, 70.0)])
    assert (ages.value, ages.unit) == (65, "years")
    assert mean_prediction([read_out(SUBTYPE, torch.zeros(3))]).value is None


def test_a_network_answers_targets_with_and_without_findings_and_segments(tiny_bert: Path) -> None:
    for labels in (LabelSet(targets=TARGETS), LabelSet(findings=LABELS.findings, segments=("head",), targets=TARGETS)):
        network = make_network(tiny_bert, label_set=labels).eval()
        output = network(make_batch(network, 2))
        assert {name: tuple(part.shape) for name, part in output.target_outputs.items()} == {
            "subtype": (2, 3),
            "grade": (2, 3),
            "age": (2, 1),
        }
        assert output.finding_logits.shape == (2, len(labels.findings))
        assert (network.regions is not None) == bool(labels.segments)


def test_targets_change_no_other_weight(tiny_bert: Path) -> None:
    with_targets = make_network(tiny_bert, label_set=LabelSet(findings=("large",), segments=("head",), targets=TARGETS))
    without = make_network(tiny_bert, label_set=LabelSet(findings=("large",), segments=("head",)))
    told = with_targets.state_dict()
    assert all(torch.equal(value, told[name]) for name, value in without.state_dict().items())


def test_a_checkpoint_keeps_what_was_fitted(tiny_bert: Path, tmp_path: Path) -> None:
    labels = LabelSet(targets=TARGETS)
    network = make_network(tiny_bert, label_set=labels).eval()
    assert network.targets is not None
    network.targets.fit(*known([[0.0, 1.0, 50.0], [2.0, 3.0, 70.0]]))
    recipe = Recipe(channels=(ChannelRule(name="a"), ChannelRule(name="b")), spacing_mm=(1, 1, 1), size=SIZE)
    made = Checkpoint(name="made", label_set=labels, recipe=recipe, spec=make_spec(tiny_bert))
    made = replace(made, text_weights_sha256=text_weights_sha256(network))
    save(made, network, tmp_path / "best")
    found, again = load(tmp_path / "best")
    assert found.label_set == labels
    batch = make_batch(network)
    for name, said in network(batch).target_outputs.items():
        assert torch.equal(again(batch).target_outputs[name], said)
    assert again.targets is not None
    assert again.targets.mean[2].item() == 60
