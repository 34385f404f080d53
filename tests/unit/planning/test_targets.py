"""Target columns of a manifest -> classes, grades and numbers of a plan."""

from dataclasses import replace
from pathlib import Path

import pytest

from medfuse.config.load import load_config
from medfuse.config.schema import TrainConfig
from medfuse.domain import LabelValue, Target, TargetKind
from medfuse.errors import ManifestError
from medfuse.ingest import ManifestRow
from medfuse.planning import Budget, Fingerprint, Plan, make_plan
from medfuse.planning.fingerprint import TargetPrint
from medfuse.planning.targets import target_prints
from tests.unit.planning.fingerprints import fingerprint


def rows(name: str, *values: str) -> list[ManifestRow]:
    return [
        ManifestRow(
            study_instance_uid=f"1.{n}",
            patient_key=str(n),
            source="dicom",
            path=Path(),
            labels={"mass": LabelValue.ABSENT},
            targets={name: value} if value else {},
        )
        for n, value in enumerate(values)
    ]


def test_few_whole_numbers_are_grades_in_their_order() -> None:
    (found,), left_out = target_prints(rows("kl", *["3", "0", "10", "3.0"] * 3, ""))
    assert (found.kind, found.counts, found.known) == (TargetKind.GRADES, {"0": 3, "3": 6, "10": 3}, 12)
    assert left_out == {}


def test_other_numbers_are_a_number() -> None:
    (ages,), _ = target_prints(rows("age", *(str(30 + n) for n in range(20))))
    assert (ages.kind, ages.low, ages.high, ages.counts) == (TargetKind.NUMBER, 30, 49, {})
    (sizes,), _ = target_prints(rows("size", *["1.5", "2"] * 6))
    assert sizes.kind is TargetKind.NUMBER


def test_words_are_classes_whatever_their_letter_case() -> None:
    (found,), _ = target_prints(rows("stage", *["T10", "T2", "t2", "T2"] * 3))
    assert (found.kind, list(found.counts.items())) == (TargetKind.CLASSES, [("T2", 9), ("T10", 3)])


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("a", ["x"] * 9, "one value is all there is"),
        ("a", ["x"] * 9 + ["y"] * 2, "'y' is known of 2 studies; 3 are needed"),
        ("a", [f"w{n}" for n in range(21)], "21 different values"),
        ("a", ["0.5", "0.25"], "2 values are too few"),
        ("mass", ["x", "y"] * 5, "a finding has the same name"),
    ],
)
def test_what_cannot_be_learnt_is_left_out_with_its_reason(name: str, values: list[str], why: str) -> None:
    found, left_out = target_prints(rows(name, *values))
    assert found == ()
    assert why in left_out[name]


GRADE = TargetPrint(name="grade", kind=TargetKind.GRADES, known=90, counts={"1": 70, "2": 15, "3": 5})
TYPE = TargetPrint(name="type", kind=TargetKind.CLASSES, known=40, counts={"yes": 20, "b c": 20})
AGE = TargetPrint(name="age", kind=TargetKind.NUMBER, known=100, low=30, high=81.5)


def planned(data: Fingerprint) -> Plan:
    return make_plan(data, manifest=Path("m.csv"), name="run", budget=Budget(), timer=lambda *_: 1.0)


def test_the_plan_asks_for_them_and_says_why(tmp_path: Path) -> None:
    made = planned(fingerprint(targets=(GRADE, TYPE, AGE), left_out_targets={"site": "one value is all there is"}))
    (tmp_path / "run.yaml").write_text(made.text, encoding="utf-8")
    config = load_config(tmp_path / "run.yaml", [], TrainConfig)
    assert config == made.config
    assert config.labels.targets == (
        Target(name="grade", kind=TargetKind.GRADES, classes=("1", "2", "3")),
        Target(name="type", kind=TargetKind.CLASSES, classes=("yes", "b c")),
        Target(name="age", kind=TargetKind.NUMBER),
    )
    assert config.training.target_balance == "inverse"
    text = " ".join(made.text.replace("#", " ").split())
    assert "grade 1 70, 2 15, 3 5; type yes 20, b c 20; age 30 to 81.5 in 100 studies" in text
    assert "Target 'site' is left out: one value is all there is." in made.cautions
    assert any("'grade' has classes of few studies ('2' 15, '3' 5)" in caution for caution in made.cautions)
    assert "Target 'type' is known of 40 of 100 studies." in made.cautions


def test_targets_alone_are_something_to_learn_and_nothing_is_not() -> None:
    made = planned(fingerprint(segments={}, targets=(AGE,)))
    assert made.config.training.target_balance == "none"
    assert made.config.training.augment is not None
    assert made.config.training.augment.flip_probability > 0
    with pytest.raises(ManifestError, match="no target is known of enough studies"):
        planned(fingerprint(segments={}))


def test_a_class_that_names_a_side_is_not_flipped() -> None:
    worse = replace(TYPE, counts={"left knee": 20, "right knee": 20})
    augment = planned(fingerprint(targets=(worse,))).config.training.augment
    assert augment is not None
    assert augment.flip_probability == 0


def test_a_plan_without_targets_says_nothing_of_them() -> None:
    assert "target" not in planned(fingerprint(findings={"mass": (50, 50)})).text
