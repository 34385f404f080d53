"""`medfuse index` end to end: what it writes, says and refuses, and its exit codes."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from medfuse.cli.main import main
from medfuse.domain import LabelValue
from medfuse.ingest import find_studies, read_manifest, study_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["index", *map(str, arguments)])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def mr_study(folder: Path, number: int, *, patient: str = "", slices: int = 3, first: int = 0) -> None:
    """A tiny MR series of study `1.2.<number>`, of the patient `PATIENT<number>`."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(first, first + slices):
        dataset = pydicom.Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}.1.{k + 1}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.2.{number}", f"1.2.{number}.1"
        dataset.PatientName, dataset.PatientID = "Planted^Name", patient or f"PATIENT{number}"
        dataset.AccessionNumber, dataset.Modality, dataset.SeriesNumber = f"A{number}", "MR", 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, k], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.InstanceNumber = [1, 1], k + 1
        dataset.Rows = dataset.Columns = 4
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.PixelData = np.full((4, 4), k, np.uint16).tobytes()
        dataset.save_as(folder / f"f{k}", enforce_file_format=True)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for number in (1, 2, 3):
        mr_study(root / f"s{number}" / "mr", number)
    (root / "s1" / "report.txt").write_text("HISTORY: forgetful.\nFINDINGS: small.")
    return root


def test_a_folder_with_labels(run: Run, studies: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("accession,patient_id,atrophy,mass,age\nA1,PATIENT1,1,0,70\nA2,PATIENT2,0,,71\n")
    output = tmp_path / "manifest.csv"
    code, out, err = run(studies, "--output", output, "--labels", labels)
    assert code == 0
    rows = {row.accession_number: row for row in read_manifest(output)}
    assert [rows[name].report_count for name in ("A1", "A2", "A3")] == [1, 0, 0]
    assert all(row.source == "dicom" and row.modalities == ("MR",) and row.series_count == 1 for row in rows.values())
    assert rows["A1"].labels == {"atrophy": LabelValue.PRESENT, "mass": LabelValue.ABSENT}
    assert rows["A2"].labels == {"atrophy": LabelValue.ABSENT, "mass": LabelValue.NOT_ASSESSED}
    assert set(rows["A3"].labels.values()) == {LabelValue.NOT_ASSESSED}
    assert re.search(r"studies\W+3\b", out)
    assert re.search(r"with a report\W+1\b", out)
    assert re.search(r"atrophy\W+1 present, 1 not assessed, 1 absent", out)
    assert "age" in err
    assert list(rows["A1"].path.relative_to(tmp_path.resolve()).parts) == ["data", "s1"]
    for text in (out, err, output.read_text()):
        assert "Planted" not in text
        assert "PATIENT" not in text


def test_findings_are_chosen(run: Run, studies: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("study_instance_uid,sex,atrophy,mass\n1.2.1,1,1,0\n")
    arguments = (studies, "--output", tmp_path / "m.csv", "--labels", labels)
    assert run(*arguments, "--finding", "mass", "--finding", "atrophy")[0] == 0
    assert list(read_manifest(tmp_path / "m.csv")[0].labels) == ["mass", "atrophy"]


def test_rows_lead_back_to_their_studies(run: Run, studies: Path, tmp_path: Path) -> None:
    run(studies, "--output", tmp_path / "m.csv")
    found = {study.study_instance_uid: study for study in find_studies(studies).studies}
    for row in read_manifest(tmp_path / "m.csv"):
        study, again = found[row.study_instance_uid], study_of(row)
        assert (again.series, again.reports, again.patient_key) == (study.series, study.reports, study.patient_key)


def test_a_rejected_study_gives_exit_code_1_and_the_others_are_written(run: Run, studies: Path, tmp_path: Path) -> None:
    mr_study(studies / "s3" / "other", 3, patient="SOMEONE ELSE", first=10)
    labels = tmp_path / "labels.csv"
    labels.write_text("study_instance_uid,mass\n1.2.1,1\n1.2.3,1\n")
    code, out, err = run(studies, "--output", tmp_path / "m.csv", "--labels", labels)
    assert code == 1
    assert "MIXED_PATIENTS" in err
    assert "SOMEONE" not in out + err
    assert [row.study_instance_uid for row in read_manifest(tmp_path / "m.csv")] == ["1.2.1", "1.2.2"]


def test_a_folder_of_rejected_studies_alone_writes_nothing(run: Run, tmp_path: Path) -> None:
    mr_study(tmp_path / "data", 1)
    mr_study(tmp_path / "data", 1, patient="OTHER", first=10)
    code, _, err = run(tmp_path / "data", "--output", tmp_path / "m.csv")
    assert code == 1
    assert "no manifest was written" in err
    assert not (tmp_path / "m.csv").exists()


def test_truncated_and_fake_files_are_problems(run: Run, studies: Path, tmp_path: Path) -> None:
    whole = (studies / "s1" / "mr" / "f0").read_bytes()
    (studies / "s1" / "mr" / "cut.dcm").write_bytes(whole[:200])
    (studies / "s2" / "mr" / "fake.dcm").write_text("this is no DICOM")
    (studies / "s2" / "report.txt").write_bytes(b"HISTORY\0")
    code, _, err = run(studies, "--output", tmp_path / "m.csv")
    assert code == 0
    problems = {row.study_instance_uid: " ".join(row.problems) for row in read_manifest(tmp_path / "m.csv")}
    assert "cut.dcm" in problems["1.2.1"]
    assert "NOT_DICOM" in problems["1.2.2"]
    assert "NOT_TEXT" in problems["1.2.2"]
    assert problems["1.2.3"] == ""
    assert "NOT_TEXT" in err


def _nothing(folder: Path) -> None:
    folder.mkdir()


def _no_dicom(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")


def _bad_decathlon(folder: Path) -> None:
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "dataset.json").write_text("{")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "does not exist"),
        (_nothing, "is empty"),
        (_no_dicom, "no DICOM"),
        (_bad_decathlon, "no valid JSON"),
    ],
)
def test_a_folder_without_studies_is_wrong_use(
    run: Run, tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path / "data")
    check_refusal(run(tmp_path / "data", "--output", tmp_path / "m.csv"), message, tmp_path)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("study_instance_uid,mass\n1.2.1,1\n9.9,1\n", (), "names 1 of 2 studies that the folder does not hold"),
        (
            "accession,mass\nA1,1\n",
            ("--finding", "stroke"),
            "column stroke holds no labels: no such column, found mass",
        ),
        ("name,mass\nx,1\n", (), "no key column"),
        ("", (), "line 1"),
    ],
)
def test_a_label_file_that_does_not_fit_is_wrong_use(
    run: Run, studies: Path, tmp_path: Path, text: str, options: tuple[str, ...], message: str
) -> None:
    (tmp_path / "labels.csv").write_text(text)
    arguments = (studies, "--output", tmp_path / "m.csv", "--labels", tmp_path / "labels.csv", *options)
    check_refusal(run(*arguments), message, tmp_path)


def test_an_output_that_cannot_be_is_wrong_use(run: Run, studies: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("accession,mass\nA1,1\n")
    for output, options, message in (
        (tmp_path / "none" / "m.csv", (), "its folder does not exist"),
        (tmp_path, (), "is a folder"),
        (labels, ("--labels", labels), "would replace the label file"),
        (tmp_path / "m.csv", ("--finding", "mass"), "give the file with --labels"),
        (tmp_path / "m.csv", ("--labels", tmp_path / "gone.csv"), "No such file"),
    ):
        check_refusal(run(studies, "--output", output, *options), message, tmp_path)
    assert labels.read_text() == "accession,mass\nA1,1\n"


def check_refusal(result: tuple[int, str, str], message: str, tmp_path: Path) -> None:
    code, out, err = result
    assert code == 2
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".", "m.csv"))]


def test_a_full_disk_leaves_nothing_behind(
    run: Run, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medfuse.storage.os.fsync", full)
    check_refusal(run(studies, "--output", tmp_path / "m.csv"), "no space left", tmp_path)


@pytest.mark.realdata
def test_the_hippocampus_studies(run: Run, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "hippocampus"
    labels, output = folder / "labels.csv", tmp_path / "m.csv"
    assert run(folder / "dicom", "--output", output, "--labels", labels)[0] == 0
    rows = read_manifest(output)
    assert len(rows) == 200
    assert sum(row.report_count == 1 for row in rows) == 185
    assert sum(row.segmentation_count == 1 for row in rows) == 200
    assert all(row.modalities == ("MR",) and row.series_count == 1 and not row.problems for row in rows)
    header, *lines = [line.split(",") for line in labels.read_text().splitlines()]
    truth = {line[2]: dict(zip(header[3:6], line[3:6], strict=True)) for line in lines}
    words = {"0": LabelValue.ABSENT, "1": LabelValue.PRESENT}
    for row in rows:
        assert row.labels == {name: words[value] for name, value in truth[row.study_instance_uid].items()}
    assert len({row.patient_key for row in rows}) == 200
    again = study_of(rows[17])
    assert (len(again.series), len(again.segmentations)) == (1, 1)


@pytest.mark.realdata
def test_the_same_studies_as_a_decathlon_set(run: Run, shared_data: Path, tmp_path: Path) -> None:
    assert run(shared_data / "hippocampus" / "nifti", "--output", tmp_path / "m.csv")[0] == 0
    rows = read_manifest(tmp_path / "m.csv")
    assert Counter((row.source, row.modalities, row.segmentation_count) for row in rows) == {("nifti", ("MR",), 1): 200}
    assert study_of(rows[5]).accession_number == rows[5].accession_number


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "modality", "n_series"), [("brain-mr-dicom", "MR", 5), ("ct-dicom", "CT", 1)])
def test_scanner_studies(run: Run, shared_data: Path, tmp_path: Path, name: str, modality: str, n_series: int) -> None:
    assert run(shared_data / name, "--output", tmp_path / "m.csv")[0] == 0
    (row,) = read_manifest(tmp_path / "m.csv")
    assert (row.modalities, row.series_count, row.problems) == ((modality,), n_series, ())


def test_a_large_folder_is_kept_unless_told_not_to(
    run: Run, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    monkeypatch.setenv("MEDFUSE_CACHE_DIR", str(kept))
    monkeypatch.setattr("medfuse.ingest.cache.LEAST_FILES", 1)
    output = tmp_path / "manifest.csv"
    assert run(studies, "--output", output, "--no-cache")[0] == 0
    assert not kept.exists()
    fresh = output.read_bytes()
    for _ in range(2):
        assert run(studies, "--output", output)[0] == 0
        assert output.read_bytes() == fresh
        assert kept.is_dir()


def test_a_data_set_brings_its_own_labels(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medfuse.domain import Provenance
    from medfuse.ingest.importers.decathlon import Decathlon
    from medfuse.ingest.labels import Labels
    from tests.unit.ingest.test_decathlon import data_set

    def labels(self: Decathlon, root: Path, studies: object) -> Labels:
        values = {study.study_instance_uid: {"tumour": LabelValue.PRESENT} for study in studies}
        return Labels(
            source=root / "labels.csv",
            key="study_instance_uid",
            findings=("tumour",),
            values=values,
            lines=dict.fromkeys(values, 1),
            left_out={},
        )

    monkeypatch.setattr(Decathlon, "labels", labels)
    monkeypatch.setattr(Decathlon, "label_provenance", Provenance.READER)
    output = tmp_path / "manifest.csv"
    code, out, _ = run(data_set(tmp_path / "set"), "--output", output, "--finding", "tumour")
    assert code == 0
    assert "Read as decathlon; labels from its own tables (READER)." in out
    assert {row.labels["tumour"] for row in read_manifest(output)} == {LabelValue.PRESENT}
    monkeypatch.setattr(Decathlon, "labels", lambda self, root, studies: None)
    code, _, err = run(tmp_path / "set", "--output", output, "--finding", "tumour")
    assert code == 2
    assert "give the file with --labels" in err
