"""A tree de-identified: whole studies, the same again, gone on with, and refused where it does not fit."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medfuse.errors import StorageError, UsageError
from medfuse.ingest.deidentify import Options, Secret, deidentify_tree
from tests.unit.ingest.made_dicom import image, ramp, save, slices, uid

KEY = Secret(b"k" * 32)


def study(folder: Path, patient: str = "A", n: int = 1, **tags: object) -> Path:
    """A series of three slices of a patient."""
    made = slices(
        ramp(), PatientID=patient, StudyInstanceUID=uid(patient, n), SeriesInstanceUID=uid(patient, n, 1), **tags
    )
    for k, dataset in enumerate(made):
        save(dataset, folder / f"{k}")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_key_gives_the_same_bytes(tmp_path: Path) -> None:
    study(tmp_path / "in" / "a")
    (tmp_path / "in" / "a" / "r.txt").write_text("No nodule.")
    for name, secret in (("1", KEY), ("2", KEY), ("3", Secret(b"x" * 32))):
        deidentify_tree(tmp_path / "in", tmp_path / name, secret, Options())
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert not set(contents(tmp_path / "1")) & set(contents(tmp_path / "3")) - {"deidentification.json"}


def test_names_of_files_are_made_and_in_order(tmp_path: Path) -> None:
    study(tmp_path / "in" / "Zebulon")
    deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options())
    series = tmp_path / "out" / KEY.patient("A") / KEY.uid(uid("A", 1)) / KEY.uid(uid("A", 1, 1))
    files = sorted(series.iterdir())
    assert [path.name for path in files] == ["00001.dcm", "00002.dcm", "00003.dcm"]
    assert [pydicom.dcmread(path).InstanceNumber for path in files] == [1, 2, 3]
    assert files[0].read_bytes()[:128] == bytes(128)


def test_studies_of_one_patient_stay_together_and_keep_their_distance(tmp_path: Path) -> None:
    study(tmp_path / "in" / "1", n=1, StudyDate="20200101")
    study(tmp_path / "in" / "2", n=2, StudyDate="20200331")
    study(tmp_path / "in" / "3", patient="B", StudyDate="20200101")
    record, _ = deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options(retain_dates=True))
    assert (record.studies, record.patients, record.files) == (3, 2, 9)
    dates: dict[str, set[str]] = {}
    for path in (tmp_path / "out").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dates.setdefault(dataset.PatientID, set()).add(dataset.StudyDate)
    days = sorted(np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}") for d in dates[KEY.patient("A")])
    assert days[1] - days[0] == np.timedelta64(90, "D")
    assert dates[KEY.patient("B")].isdisjoint({"20200101", *dates[KEY.patient("A")]})


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (1, 2, 3):
        study(tmp_path / "in" / str(n), patient=str(n))
    whole = deidentify_tree(tmp_path / "in", tmp_path / "whole", KEY, Options())[0]

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options(), progress=stop)
    assert json.loads((tmp_path / "out" / "deidentification.json").read_text())["complete"] is False
    written = []
    dcmwrite = pydicom.dcmwrite
    monkeypatch.setattr(pydicom, "dcmwrite", lambda file, *a, **k: (written.append(file), dcmwrite(file, *a, **k)))
    record, _ = deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options())
    assert (len(written), record.unchanged, record.studies) == (3, 2, 3)
    assert record.as_dict() == whole.as_dict()
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_study_that_changed_is_written_anew(tmp_path: Path) -> None:
    study(tmp_path / "in" / "1")
    deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options())
    (tmp_path / "in" / "1" / "2").unlink()
    record, _ = deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options())
    assert (record.files, record.unchanged) == (2, 0)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2


def test_a_study_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study(tmp_path / "in" / "1")
    dcmwrite = pydicom.dcmwrite
    calls = []

    def full(file: object, *args: object, **options: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        dcmwrite(file, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pydicom, "dcmwrite", full)
    with pytest.raises(StorageError, match="no space"):
        deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options())
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [
        tmp_path / "out" / "deidentification.json"
    ]


def test_broken_files_are_held_back_and_the_others_go_on(tmp_path: Path) -> None:
    folder = study(tmp_path / "in" / "1")
    (folder / "0").write_bytes((folder / "0").read_bytes()[:-20])
    (folder / "x.dcm").write_bytes(b"no dicom")
    (folder / "notes.pdf").write_bytes(b"%PDF")
    (folder / "table.csv").write_text("a,b\n")
    (folder / "README.txt").write_text("about")
    save(image(StudyInstanceUID=None), folder / "lost")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "empty.txt").write_text(" ")
    record, held = deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options())
    assert (record.files, record.left_out) == (2, 1)
    assert {one.path.name: one.reason for one in held} == {
        "0": "TRUNCATED_FILE",
        "x.dcm": "NOT_DICOM",
        "notes.pdf": "OTHER_FILE",
        "table.csv": "TABLE_OF_STUDIES",
        "README.txt": "OTHER_FILE",
        "lost": "UID_MISSING",
        "empty.txt": "EMPTY_REPORT",
    }
    stored = json.loads((tmp_path / "out" / "deidentification.json").read_text())
    assert {row["reason"] for row in stored["held_back"]} == {one.reason for one in held}
    assert str(tmp_path) not in json.dumps(stored)


def test_one_captured_screen_holds_back_its_series(tmp_path: Path) -> None:
    folder = study(tmp_path / "in" / "1")
    dataset = pydicom.dcmread(folder / "1")
    dataset.BurnedInAnnotation = "YES"
    dataset.save_as(folder / "1")
    (folder / "r.txt").write_text("No nodule.")
    record, held = deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options())
    assert record.files == record.studies == 0
    assert [one.reason for one in held] == ["BURNED_IN_ANNOTATION"] * 3 + ["STUDY_HELD_BACK"]
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["deidentification.json"]
    kept, held = deidentify_tree(tmp_path / "in", tmp_path / "kept", KEY, Options(keep_burned_in=True))
    assert (kept.files, held) == (3, ())
    assert kept.kept_burned_in == {"BURNED_IN_ANNOTATION": 3}
    assert json.loads((tmp_path / "kept" / "deidentification.json").read_text())["kept_burned_in"]


def test_reports_can_be_left_behind(tmp_path: Path) -> None:
    folder = study(tmp_path / "in" / "1")
    (folder / "r.txt").write_text("No nodule.")
    record, held = deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options(reports=False))
    assert (record.reports, [one.reason for one in held]) == (0, ["REPORTS_NOT_ASKED_FOR"])
    assert not list((tmp_path / "out").rglob("*.txt"))


def test_an_output_of_another_key_or_options_is_refused(tmp_path: Path) -> None:
    study(tmp_path / "in" / "1")
    deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options())
    before = contents(tmp_path / "out")
    with pytest.raises(UsageError, match="another key"):
        deidentify_tree(tmp_path / "in", tmp_path / "out", Secret(b"x" * 32), Options())
    with pytest.raises(UsageError, match="other options"):
        deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options(retain_dates=True))
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(("source", "output"), [("in", "in/out"), ("in/1", "in"), ("in", "in"), ("in", "link/out")])
def test_places_within_each_other_are_refused(tmp_path: Path, source: str, output: str) -> None:
    study(tmp_path / "in" / "1")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(UsageError, match="apart"):
        deidentify_tree(tmp_path / source, tmp_path / output, KEY, Options())


def test_other_places_are_refused(tmp_path: Path) -> None:
    study(tmp_path / "in" / "1")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "deidentification.json").write_text("[]")
    for output, match in (("full", "not empty"), ("broken", "cannot be read"), ("full/x", "is a file")):
        with pytest.raises(UsageError, match=match):
            deidentify_tree(tmp_path / "in", tmp_path / output, KEY, Options())
    with pytest.raises(UsageError, match="does not exist"):
        deidentify_tree(tmp_path / "none", tmp_path / "out", KEY, Options())


def test_ages_above_89_are_90(tmp_path: Path) -> None:
    study(tmp_path / "in" / "1", PatientAge="093Y")
    study(tmp_path / "in" / "2", patient="B", PatientAge="089Y")
    deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options(retain_patient_characteristics=True))
    ages = {(d.PatientID, d.PatientAge) for d in map(pydicom.dcmread, (tmp_path / "out").rglob("*.dcm"))}
    assert ages == {(KEY.patient("A"), "090Y"), (KEY.patient("B"), "089Y")}


def test_a_bare_dataset_gets_a_meta_header(tmp_path: Path) -> None:
    dataset = slices(ramp())[0]
    (tmp_path / "in").mkdir()
    pydicom.dcmwrite(tmp_path / "in" / "bare", dataset, implicit_vr=True, little_endian=True)
    record, _ = deidentify_tree(tmp_path / "in", tmp_path / "out", KEY, Options())
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert record.files == 1
    read = pydicom.dcmread(path)
    assert read.file_meta.TransferSyntaxUID == pydicom.uid.ImplicitVRLittleEndian
    assert read.PixelData == dataset.PixelData
