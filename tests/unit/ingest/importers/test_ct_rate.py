"""CT-RATE: headers from the table, fixed folders, flat folders, and tables that are broken."""

import csv
from pathlib import Path

import numpy as np
import pytest

from medfuse.errors import ManifestError
from medfuse.ingest.importers import CTRate
from medfuse.ingest.nifti import read_nifti_series
from tests.importer_layouts import CT_RATE_ROW, GRID, VOXELS, ct_rate, image, table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    ct_rate(tmp_path)
    return tmp_path


def set_metadata(root: Path, **values: str) -> None:
    """Change columns of every row of the training metadata."""
    path = root / "dataset" / "metadata" / "train_metadata.csv"
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    for row in rows:
        for name, value in values.items():
            row[header.index(name)] = value
    table(path, [header, *rows])


def problems(root: Path, scan: str = "train_1_b") -> list[str]:
    return [p for study in CTRate().studies(root).studies if study.accession_number == scan for p in study.problems]


def test_unfixed_volumes_are_corrected_and_fixed_ones_are_not(root: Path) -> None:
    studies = {study.accession_number: study for study in CTRate().studies(root).studies}
    assert studies["train_1_a"].series[0].correction is not None
    assert studies["valid_1_a"].series[0].correction is None
    assert "valid_fixed" in studies["valid_1_a"].series[0].files[0].parts
    assert studies["train_1_a"].series[1].number == 2
    assert studies["train_1_a"].series[0].acquisition.kernel == "B30f"


def test_the_dataset_folder_alone_is_enough(root: Path) -> None:
    assert CTRate().matches(root / "dataset")
    inner, outer = CTRate().studies(root / "dataset").studies, CTRate().studies(root).studies
    assert [s.study_instance_uid for s in inner] == [s.study_instance_uid for s in outer]
    assert [s.reports for s in inner] == [s.reports for s in outer]
    assert CTRate().labels(root / "dataset", inner) is not None


def test_volumes_may_lie_flat(root: Path) -> None:
    image(root / "dataset" / "train" / "train_7_a_1.nii.gz")
    assert any("METADATA_MISSING: train_7_a_1.nii.gz" in problem for problem in problems(root, "train_7_a"))


@pytest.mark.parametrize(
    "values",
    [
        {"XYSpacing": ""},
        {"XYSpacing": "[0.5]"},
        {"XYSpacing": "[0.5, 'x']"},
        {"XYSpacing": "7"},
        {"ZSpacing": "nan"},
        {"ZSpacing": "0"},
        {"RescaleSlope": ""},
        {"RescaleSlope": "0"},
        {"RescaleIntercept": "Zebulon"},
        {"ImageOrientationPatient": "__import__('os')"},
        {"ImagePositionPatient": "[1, 2]"},
    ],
)
def test_a_volume_that_cannot_be_placed_is_left_out(root: Path, values: dict[str, str]) -> None:
    set_metadata(root, **values)
    found = CTRate().studies(root)
    (study,) = [study for study in found.studies if study.accession_number == "train_1_b"]
    assert study.series == ()
    assert study.problems[0].startswith("METADATA_MISSING: train_1_b_1.nii.gz")
    assert not any("Zebulon" in problem for problem in study.problems)
    assert next(s for s in found.studies if s.accession_number == "valid_1_a").series


def test_an_orientation_that_no_image_has_is_a_problem(root: Path) -> None:
    set_metadata(root, ImageOrientationPatient="[1, 0, 0, 1, 0, 0]")
    assert problems(root)[0].startswith("INCONSISTENT_GEOMETRY: train_1_b/train_1_b_1.nii.gz")


def test_a_table_without_positions_gives_the_spacing_alone(root: Path) -> None:
    set_metadata(root, ImageOrientationPatient="", ImagePositionPatient="")
    (study,) = [study for study in CTRate().studies(root).studies if study.accession_number == "train_1_b"]
    volume = read_nifti_series(study.series[0])
    assert volume.geometry.affine.spacing_mm == pytest.approx((0.5, 1.0, 2.5))
    assert np.array_equal(volume.voxels, VOXELS)


def test_the_orientation_of_an_oblique_fixed_volume_comes_from_the_table(root: Path) -> None:
    path = root / "dataset" / "metadata" / "validation_metadata.csv"
    oblique = {**CT_RATE_ROW, "ImageOrientationPatient": "[0.8, 0.6, 0, -0.6, 0.8, 0]"}
    table(path, [("VolumeName", *oblique), ("valid_1_a_1.nii.gz", *oblique.values())])
    (study,) = [study for study in CTRate().studies(root).studies if study.accession_number == "valid_1_a"]
    volume = read_nifti_series(study.series[0])
    assert np.allclose(volume.geometry.affine.direction[:, 0], (0.8, 0.6, 0))
    assert np.array_equal(volume.voxels, VOXELS)
    assert volume.geometry.affine.origin_mm == pytest.approx(GRID.affine.origin_mm)


def test_a_report_table_that_breaks_off_is_told_and_the_volumes_go_on(root: Path) -> None:
    path = root / "dataset" / "radiology_text_reports" / "train_reports.csv"
    path.write_bytes(path.read_bytes() + b"train_1_b_1.nii.gz,\xff\xfe")
    found = CTRate().studies(root)
    assert len(found.studies) == 3
    assert [rejected.reason for rejected in found.rejected] == ["TABLE_UNREADABLE"]
    assert "radiology_text_reports/train_reports.csv" in found.rejected[0].detail
    assert str(root) not in found.rejected[0].detail


def test_a_label_table_that_cannot_be_read_is_wrong_use(root: Path) -> None:
    path = root / "dataset" / "multi_abnormality_labels" / "train_predicted_labels.csv"
    path.write_text("Volume,Cardiomegaly\nx,1\n")
    studies = CTRate().studies(root).studies
    with pytest.raises(ManifestError, match="lacks the column VolumeName"):
        CTRate().labels(root, studies)


def test_reports_that_differ_between_reconstructions_are_told(root: Path) -> None:
    path = root / "dataset" / "radiology_text_reports" / "train_reports.csv"
    path.write_text(path.read_text().replace("Effusion.", "None.", 1))
    (study,) = [study for study in CTRate().studies(root).studies if study.accession_number == "train_1_a"]
    assert len(study.reports) == 2
    assert any(problem.startswith("REPORTS_DIFFER") for problem in study.problems)


def test_a_set_without_tables_has_volumes_where_headers_are_right(root: Path) -> None:
    for folder in ("metadata", "radiology_text_reports", "multi_abnormality_labels"):
        for path in (root / "dataset" / folder).iterdir():
            path.unlink()
    found = CTRate().studies(root)
    assert {s.accession_number: len(s.series) for s in found.studies} == {
        "train_1_a": 0, "train_1_b": 0, "valid_1_a": 1
    }  # fmt: skip
    assert CTRate().labels(root, found.studies) is None
