import pytest

from medfuse.domain import Familiarity, LabelSet, Target, TargetKind, TargetPrediction


def test_targets_share_no_name_with_findings_and_say_what_they_are() -> None:
    grade = Target(name="grade", kind=TargetKind.GRADES, classes=("low", "high"))
    assert LabelSet(targets=(grade,)).targets == (grade,)
    with pytest.raises(ValueError, match="unique"):
        LabelSet(findings=("grade",), targets=(grade,))
    with pytest.raises(ValueError, match="two or more"):
        Target(name="subtype", kind=TargetKind.CLASSES, classes=("only",))
    with pytest.raises(ValueError, match="is a number"):
        Target(name="age", kind=TargetKind.NUMBER, classes=("young", "old"))


def test_a_targets_answer_has_a_probability_for_each_class() -> None:
    said = TargetPrediction(
        name="grade",
        kind=TargetKind.GRADES,
        classes=("low", "middle", "high"),
        probabilities=(0.2, 0.5, 0.3),
        value=1.1,
    )
    assert said.most_probable == "middle"
    assert TargetPrediction(name="age", kind=TargetKind.NUMBER, value=61.0).most_probable is None
    with pytest.raises(ValueError, match="3 classes and 2 probabilities"):
        TargetPrediction(name="grade", kind=TargetKind.GRADES, classes=("a", "b", "c"), probabilities=(0.5, 0.5))


def test_a_study_is_unfamiliar_beyond_the_threshold_alone() -> None:
    assert Familiarity(distance=2.1, threshold=2.0).is_unfamiliar
    assert not Familiarity(distance=2.0, threshold=2.0).is_unfamiliar
