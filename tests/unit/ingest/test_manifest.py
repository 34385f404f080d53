"""The manifest: round trip, spreadsheet safety, refusals with file, line and column, and finding a study again."""

import csv
import json
from pathlib import Path

import pytest

from medfuse.domain import LabelValue, Modality, Rejected, Series, Study
from medfuse.errors import ManifestError, StorageError, StudyError, UsageError
from medfuse.ingest import manifest
from medfuse.ingest.manifest import (
    COLUMNS,
    ManifestRow,
    manifest_schema,
    read_manifest,
    row_of,
    study_of,
    write_manifest,
)
from medfuse.ingest.scan import ScanResult


def row(uid: str = "1.2.3", **fields: object) -> ManifestRow:
    known: dict[str, object] = {"patient_key": "abc", "source": "dicom", "path": Path("/data/a")}
    return ManifestRow(study_instance_uid=uid, **(known | fields))  # type: ignore[arg-type]


def written(tmp_path: Path, *rows: ManifestRow) -> Path:
    path = tmp_path / "manifest.csv"
    write_manifest(path, rows)
    return path


def test_round_trip(tmp_path: Path) -> None:
    rows = (
        row(
            "1.2.3",
            accession_number='A,1\n"x"',
            path=tmp_path / "sub" / "a b",
            modalities=("CT", "MR"),
            series_count=2,
            report_count=1,
            segmentation_count=3,
            problems=("NOT_DICOM: 1 file: x", "TRUNCATED_FILE: y"),
            labels={"mass": LabelValue.PRESENT, "left, large": LabelValue.NOT_ASSESSED},
        ),
        row("2.25.4", source="nifti", labels={"mass": LabelValue.UNCERTAIN, "left, large": LabelValue.ABSENT}),
    )
    assert read_manifest(written(tmp_path, *rows)) == rows
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.csv"]


def test_paths_below_the_manifest_are_relative_and_move_with_it(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    path = written(tmp_path / "old", row("1", path=tmp_path / "old" / "s1"), row("2", path=tmp_path / "elsewhere"))
    cells = [line["path"] for line in csv.DictReader(path.read_text().splitlines())]
    assert cells == ["s1", (tmp_path / "elsewhere").resolve().as_posix()]
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new" / "manifest.csv")[0].path == (tmp_path / "new" / "s1").resolve()


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=x", "'=1", "''", "'quoted'"])
def test_no_cell_is_a_formula_and_all_come_back(tmp_path: Path, value: str) -> None:
    rows = (row(accession_number=value, labels={value.strip() or "x": LabelValue.PRESENT}),)
    path = written(tmp_path, *rows)
    with path.open(newline="", encoding="utf-8") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert read_manifest(path) == rows


def test_names_of_files_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    rows = (row(path=Path("/data/M\udcfcller")),)
    assert read_manifest(written(tmp_path, *rows)) == rows


def test_separators_within_a_problem_do_not_split_it(tmp_path: Path) -> None:
    (read,) = read_manifest(written(tmp_path, row(problems=("A: x | y\nz", "B: t"))))
    assert read.problems == ("A: x / y z", "B: t")


def test_columns_of_others_are_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, row())
    lines = path.read_text().splitlines()
    path.write_text("\ufeff" + "\r\n".join(("site," + lines[0], "north," + lines[1])), encoding="utf-8")
    assert read_manifest(path) == (row(),)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("study_instance_uid", "", "line 2, column study_instance_uid: expected a value"),
        ("patient_key", "", "column patient_key: expected a value$"),
        ("source", "png", "column source: expected dicom or nifti, found 'png'"),
        ("path", "", "column path: expected a value"),
        ("series_count", "2.0", "column series_count: expected a whole number from 0, found '2.0'"),
        ("report_count", "-1", "column report_count: expected a whole number"),
        ("report_count", "²", "column report_count: expected a whole number"),
        ("label_mass", "1", "column label_mass: expected PRESENT, ABSENT, UNCERTAIN, NOT_ASSESSED, found '1'"),
    ],
)
def test_a_bad_value_is_told_with_file_line_and_column(tmp_path: Path, column: str, value: str, message: str) -> None:
    path = written(tmp_path, row(labels={"mass": LabelValue.ABSENT}))
    (cells,) = csv.DictReader(path.read_text().splitlines())
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(cells))
        writer.writeheader()
        writer.writerow(cells | {column: value})
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("column", [column.name for column in COLUMNS])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = written(tmp_path, row())
    path.write_text(path.read_text().replace(column, "renamed", 1))
    with pytest.raises(ManifestError, match=f"lacks the column {column}; found "):
        read_manifest(path)


def test_broken_tables_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, row())
    header, line = path.read_text().splitlines()
    broken = {
        "lacks the column": "",
        "holds no studies": header,
        "line 2 has 9 values, expected 10": f"{header}\n{line.rsplit(',', 1)[0]}",
        "line 3 repeats the study_instance_uid of line 2": f"{header}\n{line}\n{line}",
        "found twice or unnamed": f"{header},label_a,label_a\n{line},ABSENT,ABSENT",
        "is no CSV": f'{header}\n"{line}',
    }
    for message, text in broken.items():
        path.write_text(text)
        with pytest.raises(ManifestError, match=message):
            read_manifest(path)
    for missing in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ManifestError):
            read_manifest(missing)


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, row("1"))
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medfuse.storage.os.fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        write_manifest(path, [row("2")])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StorageError):
        write_manifest(tmp_path / "none" / "m.csv", [row()])


def test_rows_of_different_findings_are_refused(tmp_path: Path) -> None:
    for rows in ([], [row("1"), row("2", labels={"mass": LabelValue.ABSENT})]):
        with pytest.raises(ValueError, match="same findings"):
            write_manifest(tmp_path / "m.csv", rows)
    assert not list(tmp_path.iterdir())


def test_row_of_a_study(tmp_path: Path) -> None:
    def series(name: str, modality: Modality) -> Series:
        return Series(series_instance_uid=name, modality=modality, files=(tmp_path / name,))

    file = tmp_path / "x.nii.gz"
    file.touch()
    dicom = Study(
        study_instance_uid="1", patient_key="k", accession_number="A", path=tmp_path / "s", problems=("P: x",),
        series=(series("a", Modality.MR), series("b", Modality.CT), series("c", Modality.MR)),
        segmentations=(file,),
    )  # fmt: skip
    nifti = Study(study_instance_uid="2", patient_key="k", path=file, series=(series("x.nii.gz", Modality.OTHER),))
    assert row_of(dicom, tmp_path, {"m": LabelValue.ABSENT}) == ManifestRow(
        study_instance_uid="1", patient_key="k", accession_number="A", source="dicom", path=tmp_path / "s",
        modalities=("MR", "CT"), series_count=3, segmentation_count=1, problems=("P: x",),
        labels={"m": LabelValue.ABSENT},
    )  # fmt: skip
    assert (row_of(nifti, tmp_path).source, row_of(nifti, tmp_path).path) == ("nifti", tmp_path)


def test_a_study_is_found_again_with_one_scan_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans: list[Path] = []
    study = Study(study_instance_uid="1", patient_key="k", path=tmp_path)
    rejected = Rejected(study_instance_uid="2", reason="MIXED_PATIENTS", detail="study 2 has two")

    def find(root: Path) -> ScanResult:
        scans.append(root)
        if not root.exists():
            raise UsageError(f"{root} does not exist")
        return ScanResult(studies=(study,), rejected=(rejected,))

    monkeypatch.setattr(manifest, "find_studies", find)
    assert study_of(row("1", path=tmp_path)) is study
    assert study_of(row("1", path=tmp_path / ".." / tmp_path.name)) is study
    for uid, path, reason in (
        ("2", tmp_path, "MIXED_PATIENTS"),
        ("3", tmp_path, "STUDY_NOT_FOUND"),
        ("1", tmp_path / "gone", "STUDY_NOT_FOUND"),
    ):
        with pytest.raises(StudyError) as caught:
            study_of(row(uid, path=path))
        assert caught.value.reason == reason
    assert scans == [tmp_path.resolve(), tmp_path.resolve() / "gone"]


def test_the_schema_and_the_column_table_are_current(checkout: Path) -> None:
    folder = checkout / "data_manifests"
    if not folder.is_dir():
        pytest.skip("data_manifests is not part of this installation")
    assert json.loads((folder / "manifest.schema.json").read_text()) == manifest_schema(), (
        "see data_manifests/README.md"
    )
    readme = (folder / "README.md").read_text()
    for column in COLUMNS:
        meaning = column.meaning.replace("|", r"\|")
        assert f"| `{column.name}` | {column.kind} | {meaning} |" in readme


def test_targets_come_back_and_blank_ones_are_absent(tmp_path: Path) -> None:
    rows = (
        row("1", targets={"stage": "=II, b", "age": "-1.5"}),
        row("2", targets={"grade": "3", "stage": "I", "age": "61"}),
        row("3"),
    )
    path = written(tmp_path, *rows)
    assert path.read_text().splitlines()[0].endswith("problems,target_grade,target_stage,target_age")
    assert read_manifest(path) == rows
    assert read_manifest(written(tmp_path, row(targets={"age": 61.0, "size": 0.1})))[0].targets == {
        "age": "61",
        "size": "0.1",
    }


def test_a_column_of_targets_has_a_name(tmp_path: Path) -> None:
    path = written(tmp_path, row(targets={"age": "61"}))
    path.write_text(path.read_text().replace("target_age", "target_"))
    with pytest.raises(ManifestError, match="found twice or unnamed"):
        read_manifest(path)
