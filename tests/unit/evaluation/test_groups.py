from pathlib import Path

import pytest
from rich.console import Console

from medfuse.domain import LabelSet, LabelValue
from medfuse.errors import ManifestError, UsageError
from medfuse.evaluation import Asked, Case, EvaluationReport, Subject, evaluate, render
from medfuse.evaluation.groups import Grouping, group_cases, groups_of, order_of
from medfuse.evaluation.table import gap_lines

HEADER = "study_instance_uid,patient_key,report_count,sex,age,path"


def manifest(tmp_path: Path, *lines: str, header: str = HEADER) -> Path:
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join([header, *lines]) + "\n", "utf-8")
    return path


def case(n: int, **fields: object) -> Case:
    return Case(study_instance_uid=f"s{n}", patient_key=f"p{n}", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("sex", {"F": "F", " F ": "F", "": "not known"}),
        ("age:10", {"69": "60 to 69", "70": "70 to 79", "70.5": "70 to 79", "7": "0 to 9", "-3": "-10 to -1"}),
        ("age:10", {"old": "not known", "": "not known", "nan": "not known", "inf": "not known"}),
        ("age:1", {"69.5": "69"}),
        ("dose:0.5", {"0.7": "0.5 to <1", "1": "1 to <1.5"}),
        ("site: A", {"x": "x"}),
    ],
)
def test_cells_become_groups(text: str, cells: dict[str, str]) -> None:
    grouping = Grouping.parse(text)
    assert {cell: grouping.group(cell) for cell in cells} == cells
    assert str(grouping) == text


@pytest.mark.parametrize("text", ["age:0", "age:-10", "patient_key", "path", "study_instance_uid"])
def test_what_makes_no_groups_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"--by {text}"):
        Grouping.parse(text)


def test_columns_are_read_by_study(tmp_path: Path) -> None:
    path = manifest(tmp_path, "s1,p1,2,F,61,a", "s2,p2,0,'=M,x,b", "s3,p3,1,,70,c")
    cases = group_cases([case(1), case(2), case(3), case(4)], path, [Grouping.parse(t) for t in ("sex", "age:10")])
    assert [each.groups for each in cases] == [
        {"sex": "F", "age:10": "60 to 69"},
        {"sex": "=M", "age:10": "not known"},
        {"sex": "not known", "age:10": "70 to 79"},
        {"sex": "not known", "age:10": "not known"},
    ]
    assert groups_of(path, Grouping.parse("has_report")) == {
        "s1": "with report",
        "s2": "without report",
        "s3": "with report",
    }


def test_a_missing_column_and_too_many_groups_are_refused(tmp_path: Path) -> None:
    path = manifest(tmp_path, *(f"s{n},p{n},1,F,{n},x" for n in range(60)))
    with pytest.raises(ManifestError, match="no column 'scanner' to group by; it has: report_count, sex, age"):
        group_cases([case(1)], path, [Grouping.parse("scanner")])
    with pytest.raises(UsageError, match="60 groups"):
        group_cases([case(n) for n in range(60)], path, [Grouping.parse("age")])


def test_groups_stand_in_their_order() -> None:
    assert order_of(["not known", "100 to 109", "90 to 99", "0 to 9"]) == [
        "0 to 9",
        "90 to 99",
        "100 to 109",
        "not known",
    ]
    assert order_of(["b", "a", "2", "10"]) == ["2", "10", "a", "b"]


def grouped_report(sizes: dict[str, int], wrong: dict[str, int] | None = None) -> EvaluationReport:
    """Of every third study of a group PRESENT and told right, but for the first `wrong` ones."""
    cases = []
    for group, size in sizes.items():
        for n in range(size):
            present = n % 3 == 0
            right = n // 3 >= (wrong or {}).get(group, 0) or not present
            cases.append(
                Case(
                    study_instance_uid=f"{group}.{n}",
                    patient_key=f"{group}.{n}",
                    probabilities={"nodule": 0.9 - n / 1000 if present is right else 0.1 - n / 1000},
                    labels={"nodule": LabelValue.PRESENT if present else LabelValue.ABSENT},
                    dice={"lung": 0.9 if right else 0.5},
                    groups={"sex": group},
                )
            )
    subject = Subject(
        label_set=LabelSet(findings=("nodule",), segments=("lung",)), split="test", operating_points={"nodule": 0.5}
    )
    return evaluate(cases, subject, asked=Asked(by=("sex",)), draws=60)


def test_each_group_has_its_figures_and_the_worst_gap_is_named() -> None:
    report = grouped_report({"F": 60, "M": 60}, {"M": 10})
    (by_sex,) = report.subgroups
    assert [(each.value, each.studies, each.patients) for each in by_sex.groups] == [("F", 60, 60), ("M", 60, 60)]
    women, men = by_sex.groups
    assert (women.measures["nodule, sensitivity"].value, men.measures["nodule, sensitivity"].value) == (1.0, 0.5)
    assert women.measures["nodule, sensitivity"].n == 20
    assert women.few == men.few == ()
    gaps = {gap.measure: gap for gap in by_sex.gaps}
    gap = gaps["nodule, sensitivity"]
    assert (gap.best, gap.worst, gap.difference.value, gap.pairs) == ("F", "M", 0.5, 1)
    assert gap.difference.low > 0
    assert by_sex.worst
    assert "nodule, ECE" in women.measures
    assert "nodule, ECE" not in gaps
    assert f"worst gap by sex: {by_sex.worst}" in " ".join(gap_lines(by_sex))


def test_small_groups_are_shown_marked_and_not_compared() -> None:
    report = grouped_report({"F": 60, "M": 60, "X": 6}, {"X": 2})
    (by_sex,) = report.subgroups
    small = by_sex.groups[2]
    assert small.value == "X"
    assert set(small.few) == set(small.measures)
    assert not any("X" in (gap.best, gap.worst) for gap in by_sex.gaps)
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(render(report))
    console.file.close()
    text = console.export_text()
    assert "X *" in text
    assert "F *" not in text
    assert "rests on too few patients" in text


def test_a_rare_class_is_not_compared_in_a_large_group() -> None:
    report = grouped_report({"F": 60, "M": 12})
    (by_sex,) = report.subgroups
    assert "nodule, AUROC" in by_sex.groups[1].few
    assert by_sex.worst == ""
    assert gap_lines(by_sex)[-1].strip() == "by sex: no two groups can be compared"


def test_groups_are_of_patients_and_a_gap_needs_no_order() -> None:
    report = grouped_report({"B": 60, "A": 60}, {"A": 5})
    gap = next(gap for gap in report.subgroups[0].gaps if gap.measure == "lung, Dice")
    assert (gap.best, gap.worst) == ("B", "A")
    assert gap.difference.value == pytest.approx(0.4 * 5 / 60)
