"""BraTS: patients of several time points, names of regions, cases in odd shape."""

from pathlib import Path

import pytest

from medfuse.ingest.importers import BraTS
from medfuse.ingest.importers.brats import patient_of_case, region_names
from tests.importer_layouts import PLANTED, brats, image, table


@pytest.mark.parametrize(
    ("case", "patient"),
    [
        ("BraTS-GLI-00005-001", "BraTS-GLI-00005"),
        ("BraTS-MET-00086-000", "BraTS-MET-00086"),
        ("BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0001-1"),
        ("BraTS2021_00002", "BraTS2021_00002"),
        ("BraTS20_Training_001", "BraTS20_Training_001"),
        ("Brats18_TCIA02_368_1", "Brats18_TCIA02_368_1"),
        ("case-0001-002", "case-0001-002"),
    ],
)
def test_the_patient_of_a_case(case: str, patient: str) -> None:
    assert patient_of_case(case) == patient


@pytest.mark.parametrize(
    ("path", "numbers"),
    [
        ("BraTS2021_00002/BraTS2021_00002_seg.nii.gz", {1, 2, 4}),
        ("BraTS20_Training_355/W39_1998.09.19_Segm.nii", {1, 2, 4}),
        ("BraTS-GLI-00005-000/BraTS-GLI-00005-000-seg.nii.gz", {1, 2, 3, 4}),
        ("BraTS-SSA-00005-000/BraTS-SSA-00005-000-seg.nii.gz", {1, 2, 3, 4}),
        ("BraTS-PED-00005-000/BraTS-PED-00005-000-seg.nii.gz", set()),
        ("BraTS-MEN-RT-0001-1/BraTS-MEN-RT-0001-1_gtv.nii.gz", {1}),
        ("BraTS2021_00002/BraTS2021_00002_t1.nii.gz", set()),
        ("other/seg.nii.gz", set()),
    ],
)
def test_numbers_of_regions(path: str, numbers: set[int]) -> None:
    assert set(region_names(Path(path))) == numbers


def test_4_is_what_the_family_of_names_says() -> None:
    assert region_names(Path("BraTS2021_00002_seg.nii.gz"))[4] == "enhancing tumor"
    assert region_names(Path("BraTS-GLI-00005-000-seg.nii.gz"))[4] == "resection cavity"


def test_one_case_and_a_missing_sequence(tmp_path: Path) -> None:
    brats(tmp_path)
    folder = tmp_path / "TrainingData" / "LGG" / "Brats18_2013_3_1"
    (folder / "Brats18_2013_3_1_t2.nii.gz").unlink()
    assert BraTS().matches(folder)
    (study,) = BraTS().studies(folder).studies
    assert study.problems == ("IMAGE_MISSING: Brats18_2013_3_1 has no t2",)
    assert [series.number for series in study.series] == [1, 2, 4]
    assert [series.acquisition.contrast for series in study.series] == ["", "gadolinium", ""]


def test_grades_of_2020_come_from_the_table(tmp_path: Path) -> None:
    for n in (1, 2):
        case = f"BraTS20_Training_00{n}"
        for part in ("flair", "t1", "t1ce", "t2"):
            image(tmp_path / "Training" / case / f"{case}_{part}.nii")
    rows = [("Grade", "BraTS_2019_subject_ID", "BraTS_2020_subject_ID"), ("LGG", "NA", "BraTS20_Training_002")]
    table(tmp_path / "Training" / "name_mapping.csv", rows)
    studies = BraTS().studies(tmp_path).studies
    labels = BraTS().labels(tmp_path, studies)
    assert labels is not None
    assert {uid: dict(values) for uid, values in labels.values.items()} == {
        studies[1].study_instance_uid: {"high_grade": "ABSENT"}
    }
    assert labels.source.name == "name_mapping.csv"


def test_a_set_without_grades_has_no_labels(tmp_path: Path) -> None:
    brats(tmp_path)
    new = tmp_path / "TrainingData" / "new"
    found = BraTS().studies(new)
    assert BraTS().labels(new, found.studies) is None
    assert not [word for word in PLANTED if word in repr(found.studies)]
