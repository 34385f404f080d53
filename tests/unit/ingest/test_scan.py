"""Scanning: content decides, nothing is lost without a word, and no identifier comes through."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from medfuse.domain import Modality, pseudonym
from medfuse.errors import UsageError
from medfuse.ingest import ScanResult, find_studies
from tests.unit.ingest.made_dicom import MR_IMAGE, image, ramp, save, slices, uid, write_series

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


def only(result: ScanResult):
    assert len(result.studies) == 1, result
    return result.studies[0]


def without_preamble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[132:])


def test_groups_by_uid_whatever_the_names_and_nesting(tmp_path: Path) -> None:
    files = write_series(tmp_path / "x")
    mr = write_series(tmp_path / "y", SOPClassUID=MR_IMAGE, Modality="MR", SeriesInstanceUID=uid("mr"), SeriesNumber=1)
    for n, file in enumerate([*files, *mr]):
        target = tmp_path / "all" / f"deep{n % 2}" / f"{n}.{'jpg' if n % 3 else 'bin'}"
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    study = only(find_studies(tmp_path))
    assert [(s.number, s.modality, len(s.files)) for s in study.series] == [(1, Modality.MR, 3), (3, Modality.CT, 3)]
    assert study.study_instance_uid == uid("study")
    assert study.accession_number == "ACC-1"
    assert study.patient_key == pseudonym("PATIENT-7")
    assert study.path == tmp_path / "all"
    assert study.problems == ()


def test_reads_bare_datasets_without_preamble(tmp_path: Path) -> None:
    for file in write_series(tmp_path, syntax=ImplicitVRLittleEndian):
        data = file.read_bytes()
        group_length = int.from_bytes(data[140:144], "little")
        file.write_bytes(data[144 + group_length :])
    assert len(only(find_studies(tmp_path)).series[0].files) == 3


def test_a_file_with_meta_header_and_no_preamble(tmp_path: Path) -> None:
    for file in write_series(tmp_path):
        without_preamble(file)
    assert len(only(find_studies(tmp_path)).series[0].files) == 3


def test_takes_one_study_one_series_and_one_file(tmp_path: Path) -> None:
    files = write_series(tmp_path / "a" / "ct")
    for root in (tmp_path, tmp_path / "a", tmp_path / "a" / "ct"):
        assert only(find_studies(root)).path == tmp_path / "a" / "ct"
    assert len(only(find_studies(files[0])).series[0].files) == 1


def test_counts_what_is_no_image_by_reason(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    others = [
        image(SOPClassUID=SECONDARY_CAPTURE),
        image(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        image(SamplesPerPixel=3),
        image(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1"),
        image(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67"),
        image(SOPClassUID="1.2.840.10008.5.1.4.1.1.1"),
    ]
    for n, dataset in enumerate(others):
        save(dataset, tmp_path / "ct" / f"other{n}.dcm")
    (tmp_path / "ct" / "note.pdf").write_text("x" * 200)
    result = find_studies(tmp_path)
    assert len(only(result).series[0].files) == 3
    assert result.skipped_files == {
        "COLOUR_IMAGE": 1,
        "ENCAPSULATED_DOCUMENT": 1,
        "LOCALIZER": 1,
        "OTHER_FILE": 1,
        "OTHER_SOP_CLASS": 1,
        "SECONDARY_CAPTURE": 1,
        "STRUCTURED_REPORT": 1,
    }


@pytest.mark.parametrize("sop_class", [SEG, RTSTRUCT])
def test_a_segmentation_joins_its_study(tmp_path: Path, sop_class: str) -> None:
    write_series(tmp_path / "ct")
    seg = save(image(SOPClassUID=sop_class, Modality="SEG", SeriesInstanceUID=uid("seg")), tmp_path / "elsewhere" / "s")
    study = only(find_studies(tmp_path))
    assert study.segmentations == (seg,)
    assert len(study.series) == 1
    assert study.path == tmp_path


def test_a_report_belongs_to_the_only_study_around_it(tmp_path: Path) -> None:
    for name in "ab":
        write_series(tmp_path / name / "ct", StudyInstanceUID=uid(name), SeriesInstanceUID=uid(name, 1))
        (tmp_path / name / "report.txt").write_text(f"INDICATION: {name}\n")
        (tmp_path / name / "README.txt").write_text("INDICATION: not a report\n")
    (tmp_path / "loose.txt").write_text("INDICATION: whose?\n")
    result = find_studies(tmp_path)
    assert [[report.text.strip() for report in study.reports] for study in result.studies] == [
        ["INDICATION: a"],
        ["INDICATION: b"],
    ]
    assert [study.path.name for study in result.studies] == ["a", "b"]
    assert result.skipped_files == {"OTHER_FILE": 2, "TEXT_WITHOUT_STUDY": 1}


def test_a_report_in_a_folder_beside_the_series(tmp_path: Path) -> None:
    write_series(tmp_path / "a" / "ct")
    write_series(tmp_path / "b" / "ct", StudyInstanceUID=uid("b"), SeriesInstanceUID=uid("b", 1))
    (tmp_path / "a" / "text").mkdir()
    (tmp_path / "a" / "text" / "note.txt").write_text("HISTORY: mine\n")
    study = next(study for study in find_studies(tmp_path).studies if study.study_instance_uid == uid("study"))
    assert [report.text.strip() for report in study.reports] == ["HISTORY: mine"]
    assert study.path == tmp_path / "a"


def test_a_report_named_for_its_accession(tmp_path: Path) -> None:
    for name in "ab":
        write_series(tmp_path, StudyInstanceUID=uid(name), SeriesInstanceUID=uid(name, 1), AccessionNumber=f"N{name}")
        for file in tmp_path.glob("00?"):
            file.rename(tmp_path / f"{name}{file.name}")
    (tmp_path / "Nb.txt").write_text("HISTORY: b\n")
    result = find_studies(tmp_path)
    assert {s.accession_number: len(s.reports) for s in result.studies} == {"Na": 0, "Nb": 1}


def test_two_patients_in_one_study_are_rejected_without_their_names(tmp_path: Path) -> None:
    write_series(tmp_path / "s" / "one", PatientID="SECRET-1")
    write_series(tmp_path / "s" / "two", PatientID="SECRET-2", SeriesInstanceUID=uid("two"))
    write_series(tmp_path / "t", StudyInstanceUID=uid("good"), SeriesInstanceUID=uid("three"))
    result = find_studies(tmp_path)
    assert only(result).study_instance_uid == uid("good")
    (rejected,) = result.rejected
    assert (rejected.reason, rejected.study_instance_uid) == ("MIXED_PATIENTS", uid("study"))
    assert "under s " in rejected.detail
    assert "SECRET" not in repr(result)
    assert "Planted" not in repr(result)


def test_a_series_of_two_volumes_is_two_series(tmp_path: Path) -> None:
    for name, echo in (("a", 10.0), ("b", 20.0)):
        write_series(tmp_path / name, SOPClassUID=MR_IMAGE, Modality="MR", EchoTime=echo)
    study = only(find_studies(tmp_path))
    assert [(one.part, one.acquisition.echo_time_ms) for one in study.series] == [("echo-1", 10.0), ("echo-2", 20.0)]
    assert {one.series_instance_uid for one in study.series} == {uid("series")}
    assert [{path.parent.name for path in one.files} for one in study.series] == [{"a"}, {"b"}]
    assert len({one.key for one in study.series}) == 2


def test_a_series_that_is_no_volume_is_a_problem_of_its_study(tmp_path: Path) -> None:
    write_series(tmp_path / "good")
    write_series(tmp_path / "bad", SeriesInstanceUID=uid("bad"), ImagePositionPatient=None)
    study = only(find_studies(tmp_path))
    assert [one.series_instance_uid for one in study.series] == [uid("series")]
    (problem,) = study.problems
    assert problem.startswith(f"MISSING_GEOMETRY: series {uid('bad')}: file ")
    assert "ImagePositionPatient" in problem


def test_a_study_without_any_volume_is_rejected_with_the_reason(tmp_path: Path) -> None:
    write_series(tmp_path / "bad", PixelSpacing=None)
    (rejected,) = find_studies(tmp_path).rejected
    assert (rejected.reason, rejected.study_instance_uid) == ("MISSING_GEOMETRY", uid("study"))
    assert "PixelSpacing" in rejected.detail


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["DERIVED", "SECONDARY", "MIP"], "DERIVED_IMAGE"),
        (["DERIVED", "SECONDARY", "PROJECTION IMAGE"], "DERIVED_IMAGE"),
        (["DERIVED", "SECONDARY", "SCREEN SAVE"], "DERIVED_IMAGE"),
        (["ORIGINAL", "PRIMARY", "LOCALIZER"], "LOCALIZER"),
        (["DERIVED", "PRIMARY", "MPR"], ""),
        (["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], ""),
        (["DERIVED", "SECONDARY"], ""),
    ],
)
def test_pictures_of_volumes_are_left_out_and_reformats_are_not(tmp_path: Path, words: list[str], reason: str) -> None:
    write_series(tmp_path / "ct")
    write_series(tmp_path / "other", SeriesInstanceUID=uid("other"), ImageType=words)
    result = find_studies(tmp_path)
    assert len(only(result).series) == (1 if reason else 2)
    assert result.skipped_files == ({reason: 3} if reason else {})


def test_a_study_uid_for_every_file_is_mended_and_said(tmp_path: Path) -> None:
    for k, dataset in enumerate(slices(ramp())):
        dataset.StudyInstanceUID = uid("study of file", k)
        save(dataset, tmp_path / "ct" / f"{k}")
    study = only(find_studies(tmp_path))
    assert len(study.series[0].files) == 3
    assert study.problems[0].startswith(f"INCONSISTENT_STUDY_UID: series {uid('series')}: its 3 files")


def test_a_series_uid_in_two_studies_is_left_as_it_is(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", StudyInstanceUID=uid("another"))
    assert len(find_studies(tmp_path).studies) == 2


def test_a_dicomdir_stands_for_its_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    save(image(SOPClassUID="1.2.840.10008.1.3.10"), tmp_path / "DICOMDIR")
    result = find_studies(tmp_path / "DICOMDIR")
    assert result == find_studies(tmp_path)
    assert len(only(result).series[0].files) == 3
    (tmp_path / "DICOMDIR").write_bytes(b"broken")
    assert len(only(find_studies(tmp_path / "DICOMDIR")).series[0].files) == 3


def test_broken_dicom_beside_nifti_is_told(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii.gz")
    (tmp_path / "b.dcm").write_bytes(b"\0" * 128 + b"DICM")
    result = find_studies(tmp_path)
    assert len(result.studies) == 1
    assert [(one.reason, one.detail) for one in result.rejected] == [("TRUNCATED_FILE", "1 file: b.dcm")]


def test_reports_in_other_formats_join_their_study(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    (tmp_path / "ct" / "r.hl7").write_text("MSH|^~\\&|A|B|C|D|2024||ORU^R01|1|P|2.5\rOBX|1|TX|X^Y||HISTORY: seen\r")
    assert len(only(find_studies(tmp_path)).reports) == 1


def n_open_files() -> int:
    place = Path("/proc/self/fd")
    return len(list(place.iterdir())) if place.is_dir() else 0


def test_many_files_are_read_ahead_and_every_file_is_closed(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", ramp((2, 2, 150)))
    before = n_open_files()
    assert len(only(find_studies(tmp_path)).series[0].files) == 150
    assert n_open_files() == before


def test_a_missing_patient_id_falls_back_to_the_study(tmp_path: Path) -> None:
    write_series(tmp_path, PatientID=None)
    assert only(find_studies(tmp_path)).patient_key == pseudonym(uid("study"))


def test_a_study_without_images_is_rejected(tmp_path: Path) -> None:
    save(image(SOPClassUID=SECONDARY_CAPTURE), tmp_path / "a.dcm")
    (rejected,) = find_studies(tmp_path).rejected
    assert (rejected.reason, "1 SECONDARY_CAPTURE" in rejected.detail) == ("NO_IMAGE_SERIES", True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"this is text" * 30, "NOT_DICOM"), (b"", "TRUNCATED_FILE"), (b"\0" * 100, "TRUNCATED_FILE")],
)
def test_a_file_that_only_claims_to_be_dicom_is_a_problem(tmp_path: Path, content: bytes, reason: str) -> None:
    write_series(tmp_path / "ct")
    (tmp_path / "ct" / "x.dcm").write_bytes(content)
    study = only(find_studies(tmp_path))
    assert study.problems == (f"{reason}: 1 file: ct/x.dcm",)
    assert len(study.series[0].files) == 3


def test_cut_pixels_are_said_and_stay_in_the_series(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    files[1].write_bytes(files[1].read_bytes()[:-10])
    study = only(find_studies(tmp_path))
    assert study.problems == (f"TRUNCATED_FILE: 1 file: {files[1].name}",)
    assert files[1] in study.series[0].files


@pytest.mark.parametrize("kept", [132, 140, 200, 300, 400, 600, 700])
def test_a_cut_header_never_makes_a_study_of_its_own(tmp_path: Path, kept: int) -> None:
    files = write_series(tmp_path)
    data = files[0].read_bytes()
    assert kept < len(data) - 40
    files[0].write_bytes(data[:kept])
    study = only(find_studies(tmp_path))
    assert study.study_instance_uid == uid("study")
    assert len(study.problems) == 1
    assert files[0].name in study.problems[0]


def test_every_cut_of_a_file_gives_an_answer(tmp_path: Path) -> None:
    (path,) = [save(dataset, tmp_path / "x.dcm") for dataset in slices(ramp((5, 4, 1)))]
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        result = find_studies(tmp_path) if length >= 132 else None
        if result is not None:
            assert all(study.problems for study in result.studies)
            assert result.studies or result.rejected


def test_files_of_no_study_are_rejected_in_one_line_a_reason(tmp_path: Path) -> None:
    for name in "ab":
        write_series(tmp_path / name, StudyInstanceUID=uid(name), SeriesInstanceUID=uid(name, 1))
    for n in range(5):
        (tmp_path / f"fake{n}.dcm").write_text("text" * 50)
    (rejected,) = find_studies(tmp_path).rejected
    assert (rejected.study_instance_uid, rejected.reason) == ("", "NOT_DICOM")
    assert rejected.detail == "5 files: fake0.dcm, fake1.dcm, fake2.dcm and 2 more"


def test_copies_of_an_instance_are_dropped_and_said(tmp_path: Path) -> None:
    files = write_series(tmp_path / "ct")
    shutil.copy(files[0], tmp_path / "ct" / "zz_copy")
    study = only(find_studies(tmp_path))
    assert len(study.series[0].files) == 3
    assert study.problems == ("DUPLICATE_INSTANCE: 1 file: ct/zz_copy",)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    (tmp_path / "ct" / "loop").symlink_to(tmp_path)
    (tmp_path / "ct" / "dangling").symlink_to(tmp_path / "nowhere")
    assert len(only(find_studies(tmp_path)).series[0].files) == 3


def test_a_linked_folder_is_followed(tmp_path: Path) -> None:
    write_series(tmp_path / "real")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "real")
    assert len(only(find_studies(tmp_path / "root")).series[0].files) == 3


def test_blank_uids_are_made_per_folder_and_move_with_the_files(tmp_path: Path) -> None:
    blank = {"StudyInstanceUID": "", "SeriesInstanceUID": "", "SOPClassUID": "", "PatientID": ""}
    for name in "ab":
        write_series(tmp_path / "one" / name, **blank, SeriesDescription=name)
    before = find_studies(tmp_path / "one")
    assert [len(study.series[0].files) for study in before.studies] == [3, 3]
    assert all(study.study_instance_uid.startswith("2.25.") for study in before.studies)
    (tmp_path / "one").rename(tmp_path / "two")
    after = find_studies(tmp_path / "two")
    assert [s.study_instance_uid for s in after.studies] == [s.study_instance_uid for s in before.studies]
    assert len({study.series[0].series_instance_uid for study in after.studies}) == 2


def test_an_unreadable_report_is_a_problem(tmp_path: Path) -> None:
    write_series(tmp_path / "a" / "ct")
    (tmp_path / "a" / "report.txt").write_bytes(b"")
    study = only(find_studies(tmp_path))
    assert study.reports == ()
    assert len(study.problems) == 1
    assert "a/report.txt" in study.problems[0]
    assert str(tmp_path) not in study.problems[0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "is empty"),
        ({"a.json": "{}"}, "1 files looked at"),
        ({"a.dcm": "text" * 50}, "1 of them named like DICOM"),
    ],
)
def test_a_folder_without_images_is_wrong_use(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        find_studies(tmp_path)


def test_a_missing_folder_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        find_studies(tmp_path / "nope")


def write_image(path: Path, shape: tuple[int, ...] = (3, 4, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.int16), np.eye(4)), path)


def test_nifti_files_become_studies_with_the_text_and_mask_of_their_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / "image" / f"{name}.nii.gz")
        write_image(tmp_path / "mask" / f"{name}.nii.gz")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "b.txt").write_text("HISTORY: b\n")
    first, second = find_studies(tmp_path).studies
    assert (first.series[0].files[0].name, first.segmentations[0].parent.name) == ("a.nii.gz", "mask")
    assert (len(first.reports), len(second.reports)) == (0, 1)
    assert second.path == tmp_path
    assert find_studies(second.path).studies == (first, second)


def test_one_nifti_file_and_its_channels(tmp_path: Path) -> None:
    write_image(tmp_path / "four.nii", (3, 4, 5, 2))
    study = only(find_studies(tmp_path / "four.nii"))
    assert [(s.channel, s.number) for s in study.series] == [(0, 1), (1, 2)]
    assert len({s.series_instance_uid for s in study.series} | {study.study_instance_uid}) == 3
    assert all(s.series_instance_uid.startswith("2.25.") for s in study.series)


def test_a_broken_nifti_file_is_rejected(tmp_path: Path) -> None:
    write_image(tmp_path / "good.nii")
    (tmp_path / "bad.nii.gz").write_bytes(b"not gzip")
    result = find_studies(tmp_path)
    assert only(result).path.name == "good.nii"
    assert [rejected.reason for rejected in result.rejected] == ["UNREADABLE_FILE"]


def test_nifti_beside_dicom_is_counted(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    write_image(tmp_path / "ct.nii.gz")
    assert find_studies(tmp_path).skipped_files == {"NIFTI_BESIDE_DICOM": 1}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "studies", "series"),
    [("brain-mr-dicom", 1, 5), ("ct-dicom/series", 1, 1), ("lidc-dicom", 1, 1), ("hippocampus/dicom/001", 1, 1)],
)
def test_real_studies(shared_data: Path, folder: str, studies: int, series: int) -> None:
    result = find_studies(shared_data / folder)
    assert len(result.studies) == studies
    assert [len(study.series) for study in result.studies] == [series]
    assert all(study.problems == () for study in result.studies)
    assert result.rejected == ()


@pytest.mark.realdata
def test_a_hippocampus_study_has_its_report_and_segmentation(shared_data: Path) -> None:
    study = only(find_studies(shared_data / "hippocampus/dicom/001"))
    assert (len(study.reports), [path.name for path in study.segmentations]) == (1, ["seg.dcm"])
    assert study.path == shared_data / "hippocampus/dicom/001"
    assert study.patient_key == pseudonym("P001")


@pytest.mark.realdata
def test_license_texts_are_no_reports(shared_data: Path) -> None:
    assert only(find_studies(shared_data / "lidc-dicom")).reports == ()
