import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medfuse.data.cases import read_cases, targets_of, truth_map, unknown_voxels
from medfuse.data.prevalence import prevalence_of, shares_of, targets_in
from medfuse.domain import Affine, LabelSet, LabelValue, Modality, Study, Target, TargetKind, VolumeGeometry
from medfuse.domain.segmentation import Segment, Segmentation
from medfuse.errors import ManifestError
from medfuse.ingest import find_studies
from medfuse.ingest.manifest import ManifestRow, row_of
from medfuse.preprocess import ChannelRule, PreparedStudy, Recipe
from medfuse.tensors import IGNORED
from tests.parts import make_case
from tests.unit.ingest.made_dicom import write_series

LABELS = LabelSet(findings=("large",))


def recipe(modality: Modality) -> Recipe:
    return Recipe(channels=(ChannelRule(name="a", modality=modality),), spacing_mm=(1, 1, 1), size=(8, 8, 8))


def row(folder: Path, report: str = "") -> ManifestRow:
    write_series(folder)
    if report:
        (folder / "report.txt").write_text(report)
    (study,) = find_studies(folder).studies
    return row_of(study, folder, {"large": LabelValue.PRESENT})


def modality_of(made: ManifestRow) -> Modality:
    return Modality(made.modalities[0])


def test_text_under_no_heading_is_not_read_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = row(tmp_path / "a", "Memory loss in a man of 74.")
    with caplog.at_level(logging.WARNING, logger="medfuse"):
        found = read_cases([made], recipe(modality_of(made)), LABELS)
    assert next(iter(found.cases.values())).text == ""
    assert "1 of 1 studies have a report and nothing under INDICATION" in caplog.text


def test_text_under_a_heading_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = row(tmp_path / "a", "HISTORY: Memory loss.\n\nFINDINGS: Small.")
    found = read_cases([made], recipe(modality_of(made)), LABELS)
    assert next(iter(found.cases.values())).text == "Memory loss."
    assert not caplog.text


def test_no_usable_study_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    made = row(tmp_path / "a")
    with pytest.raises(ManifestError, match="NO_FITTING_SERIES"):
        read_cases([made], recipe(Modality.PT), LABELS)


@pytest.mark.parametrize(
    ("labels", "named"), [(LabelSet(findings=("lrage",)), "lrage"), (LabelSet(segments=("tumour",)), "tumour")]
)
def test_names_that_the_data_lack_are_refused(tmp_path: Path, labels: LabelSet, named: str) -> None:
    made = row(tmp_path / "a")
    with pytest.raises(ManifestError, match=named):
        read_cases([made], recipe(modality_of(made)), labels)


def test_the_label_map_holds_the_label_sets_numbers() -> None:
    grid = VolumeGeometry(shape=(2, 2, 1), affine=Affine(np.eye(4)))
    prepared = PreparedStudy(
        study=Study(study_instance_uid="1", patient_key="k", path=Path()),
        image=np.zeros((1, 2, 2, 1), dtype=np.float32),
        grid=grid,
        source_grid=grid,
        series={},
        text="",
    )
    tail = np.array([[[True], [False]], [[False], [False]]])
    label_map = truth_map({"tail": tail, "head": ~tail}, prepared, ("head", "tail"))
    assert label_map is not None
    assert label_map.ravel().tolist() == [2, 1, 1, 1]
    assert truth_map({}, prepared, ("head", "tail")) is None
    unknown = np.array([[[False], [True]], [[False], [False]]])
    label_map = truth_map({"tail": tail, "head": ~tail}, prepared, ("head", "tail"), unknown)
    assert label_map is not None
    assert label_map.ravel().tolist() == [2, IGNORED, 1, 1]
    everywhere = {"tail": tail, "head": np.ones_like(tail)}
    label_map = truth_map(everywhere, prepared, ("head", "tail"), unknown, overlapping=True)
    assert label_map is not None
    assert label_map.ravel().tolist() == [0b11, IGNORED, 0b01, 0b01]


def test_a_region_named_ignore_is_unknown_unless_the_model_predicts_it() -> None:
    grid = VolumeGeometry(shape=(3, 1, 1), affine=Affine(np.eye(4)))
    regions = (Segment(number=1, name="head"), Segment(number=2, name=" Ignore"))
    made = Segmentation(label_map=np.array([[[1]], [[2]], [[0]]]), geometry=grid, segments=regions)
    unknown = unknown_voxels([made], ("head",))
    assert unknown is not None
    assert unknown.ravel().tolist() == [False, True, False]
    assert unknown_voxels([made], ("head", " Ignore")) is None
    assert unknown_voxels([replace(made, label_map=np.zeros((3, 1, 1)), segments=regions[:1])], ("head",)) is None


def test_findings_are_counted_where_they_were_assessed() -> None:
    cases = [make_case(index) for index in range(8)]
    cases = [replace(case, labels={**case.labels, "rare": LabelValue.ABSENT}) for case in cases]
    cases[0] = replace(cases[0], labels={"large": LabelValue.UNCERTAIN, "rare": LabelValue.PRESENT})
    shares = prevalence_of([*cases, *cases[1:] * 20], ("large", "elderly", "nobody knows", "rare"))
    assert shares.tolist() == pytest.approx([4 / 7, 0.5, 0.5, 0.02])


GRADE = Target(name="grade", kind=TargetKind.GRADES, classes=("low", "middle", "high"))
AGE = Target(name="age", kind=TargetKind.NUMBER)


def told(uid: str, **targets: str) -> ManifestRow:
    return ManifestRow(study_instance_uid=uid, patient_key=uid, source="dicom", path=Path(), targets=targets)


def test_targets_are_numbers_where_they_are_known() -> None:
    rows = [told("1", grade="High", age="61", other="x"), told("2", age="-3.5"), told("3")]
    assert targets_of(rows, (GRADE, AGE)) == {"1": {"grade": 2, "age": 61}, "2": {"age": -3.5}, "3": {}}


def test_targets_that_the_manifest_lacks_and_values_that_are_none_are_refused_with_their_study() -> None:
    with pytest.raises(ManifestError, match=r"labels\.targets names 'grade'.* it knows age: .*target_grade"):
        targets_of([told("1", age="61")], (GRADE,))
    with pytest.raises(ManifestError, match="it has no column target_<name>: correct"):
        targets_of([told("1")], (GRADE,))
    with pytest.raises(
        ManifestError, match=r"target_grade of study 1\.2\.9: expected one of low, middle, high, found 'IV'"
    ):
        targets_of([told("1", grade="low"), told("1.2.9", grade="IV")], (GRADE,))
    with pytest.raises(ManifestError, match="target_age of study 1: expected a number, found '61 y'"):
        targets_of([told("1", age="61 y")], (AGE,))


def test_unknown_classes_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    made = replace(row(tmp_path / "a"), path=tmp_path / "gone", targets={"grade": "IV"})
    with pytest.raises(ManifestError, match="found 'IV'"):
        read_cases([made], recipe(Modality.MR), LabelSet(targets=(GRADE,)))


def test_a_case_holds_what_its_row_says(tmp_path: Path) -> None:
    made = replace(row(tmp_path / "a"), targets={"grade": "middle"})
    found = read_cases([made], recipe(modality_of(made)), LabelSet(targets=(GRADE,)))
    assert next(iter(found.cases.values())).targets == {"grade": 1}


def test_classes_are_counted_where_they_are_known() -> None:
    grades = [0.0] * 60 + [1.0] * 40
    cases = [replace(make_case(n), targets={"grade": grade}) for n, grade in enumerate(grades)]
    cases += [make_case(7), replace(make_case(8), targets={"age": 4.0})]
    shares = shares_of(cases, (GRADE, AGE))
    assert list(shares) == ["grade"]
    assert shares["grade"].tolist() == pytest.approx([0.6 / 1.02, 0.4 / 1.02, 0.02 / 1.02])
    assert shares_of([], (GRADE,))["grade"].tolist() == pytest.approx([1 / 3] * 3)
    values, known = targets_in(cases[-2:], (GRADE, AGE))
    assert values.tolist() == [[0, 0], [0, 4]]
    assert known.tolist() == [[False, False], [False, True]]
