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


@pytest.mark.parametrize(
    ("classes", "given", "number"),
    [
        (("low", "High"), "High", 1),
        (("low", "High"), " HIGH ", 1),
        (("a", "A"), "A", 1),
        (("a", "A", "b"), "B", 2),
        (("0", "1", "2"), "2", 2),
        (("0", "1", "2"), "2.0", 2),
        (("0", "1", "2"), 1.0, 1),
        (("1", "3"), 3, 1),
    ],
)
def test_a_class_is_told_by_its_name_or_number(classes: tuple[str, ...], given: str | float, number: int) -> None:
    assert Target(name="t", kind=TargetKind.GRADES, classes=classes).number_of(given) == number


@pytest.mark.parametrize(
    ("classes", "given"),
    [(("low", "high"), "hihg"), (("ab", "AB"), "aB"), (("0", "1"), "2"), (("1", "1.0"), "1.00"), (("a", "b"), "")],
)
def test_what_is_no_class_is_refused_with_those_there_are(classes: tuple[str, ...], given: str) -> None:
    with pytest.raises(ValueError, match=f"expected one of {', '.join(classes)}, found {given!r}"):
        Target(name="t", kind=TargetKind.CLASSES, classes=classes).number_of(given)


@pytest.mark.parametrize(("given", "number"), [("61", 61), (" -1.5e2 ", -150), (".5", 0.5), (7.25, 7.25), ("3.", 3)])
def test_a_number_is_read_with_a_point(given: str | float, number: float) -> None:
    assert Target(name="age", kind=TargetKind.NUMBER).number_of(given) == number


@pytest.mark.parametrize("given", ["61 years", "1,5", "nan", "inf", "1e999", "1_0", "", "\u0661", float("nan")])
def test_what_is_no_number_is_refused(given: str | float) -> None:
    with pytest.raises(ValueError, match="expected a number, found"):
        Target(name="age", kind=TargetKind.NUMBER).number_of(given)
