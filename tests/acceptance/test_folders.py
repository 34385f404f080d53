"""What lies in folders: rows 18, 19, 24 and 25 of the pitfalls, see `test_pitfalls.py`."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.dicom_cases import (
    CORONAL,
    STORAGE,
    assert_same,
    base_tags,
    enhanced,
    frames_of_truth,
    item,
    outcome,
    save,
    save_bare,
    set_tags,
    slices,
    truth_of,
    uid,
    write,
)

# Row 18: anonymised files.


@pytest.mark.parametrize(
    "blank",
    [
        {"SOPInstanceUID": ""},
        {"SeriesInstanceUID": ""},
        {"StudyInstanceUID": ""},
        {"StudyInstanceUID": None, "SeriesInstanceUID": None, "SOPInstanceUID": None, "FrameOfReferenceUID": None},
        {"PatientID": "", "PatientName": "", "StudyDate": "", "AccessionNumber": ""},
        {"PatientID": None, "PatientName": None, "StudyDate": None, "AccessionNumber": None, "SeriesNumber": None},
        {"SOPClassUID": None},
        {"InstanceNumber": None, "SeriesDescription": None, "ImageType": None, "Manufacturer": None},
    ],
    ids=["sop", "series", "study", "all uids", "blank patient", "no patient", "no class", "no texts"],
)
def test_row_18_blanked_identifiers_do_not_stop_a_volume(tmp_path: Path, blank: dict[str, Any]) -> None:
    truth = truth_of()
    write(slices(truth, **blank), tmp_path)
    assert_same(outcome(tmp_path).only, truth)


def test_row_18_blanked_series_uids_group_by_folder(tmp_path: Path) -> None:
    first, second = truth_of(), truth_of(seed=2)
    write(slices(first, SeriesInstanceUID="", StudyInstanceUID=""), tmp_path / "a")
    write(slices(second, series="second", SeriesInstanceUID="", StudyInstanceUID=""), tmp_path / "b")
    found = outcome(tmp_path)
    assert len(found.volumes) == 2
    values = {int(volume.voxels.sum()) for volume in found.volumes.values()}
    assert values == {int(first.voxels.sum()), int(second.voxels.sum())}


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient"])
@pytest.mark.parametrize("some", [True, False])
def test_row_18_a_missing_position_or_orientation_is_refused_and_named(tmp_path: Path, tag: str, some: bool) -> None:
    write(slices(truth_of(), each=lambda k: {} if some and k != 2 else {tag: None}), tmp_path)
    found = outcome(tmp_path)
    assert not found.volumes
    assert "MISSING_GEOMETRY" in found.reasons
    said = " ".join([*found.lines, *(error.detail for error in found.refusals.values())])
    assert tag in said


@pytest.mark.parametrize("value", [[0.0, 0.0], "", [0.0] * 7])
def test_row_18_a_position_of_another_length_is_refused(tmp_path: Path, value: Any) -> None:
    write(slices(truth_of(), ImagePositionPatient=value), tmp_path)
    found = outcome(tmp_path)
    assert not found.volumes
    assert found.reasons & {"MISSING_GEOMETRY", "INCONSISTENT_GEOMETRY"}


def test_row_18_two_patients_in_one_study_are_refused_without_their_names(tmp_path: Path) -> None:
    write(slices(truth_of()), tmp_path / "a")
    others = {"PatientID": "PATIENT-8", "PatientName": "Other^Planted"}
    write(slices(truth_of(seed=2), series="other", **others), tmp_path / "b")
    found = outcome(tmp_path)
    assert not found.volumes
    assert "MIXED_PATIENTS" in found.reasons
    said = " ".join(found.lines)
    assert not any(word in said for word in ("PATIENT-7", "PATIENT-8", "Planted"))


def test_row_18_one_sop_uid_for_different_slices(tmp_path: Path) -> None:
    """Some anonymisers write one UID into every file: positions tell that these are no copies."""
    truth = truth_of()
    write(slices(truth, SOPInstanceUID=uid("one for all")), tmp_path)
    found = outcome(tmp_path)
    assert_same(found.only, truth)


def test_row_18_one_series_under_several_study_uids(tmp_path: Path) -> None:
    """As SimpleITK writes them where nobody sets the UIDs."""
    truth = truth_of()
    write(slices(truth, each=lambda k: {"StudyInstanceUID": uid("study of its own", k)}), tmp_path)
    found = outcome(tmp_path)
    assert len(found.studies) == 1
    assert_same(found.only, truth)


def test_row_18_no_reason_names_the_patient(tmp_path: Path) -> None:
    write(slices(truth_of(), each=lambda k: {"ImagePositionPatient": None} if k else {}), tmp_path)
    found = outcome(tmp_path)
    said = " ".join([*found.lines, *(error.detail for error in found.refusals.values())])
    assert said
    assert "PATIENT-7" not in said
    assert "Planted" not in said


# Row 19: no preamble, no meta header.


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("suffix", ["", ".dcm"])
def test_row_19_files_without_preamble_and_meta_header(tmp_path: Path, implicit: bool, suffix: str) -> None:
    truth = truth_of()
    for k, dataset in enumerate(slices(truth)):
        save_bare(dataset, tmp_path / f"{9 - k}{suffix}", implicit=implicit)
    assert_same(outcome(tmp_path).only, truth)


def test_row_19_a_meta_header_without_preamble(tmp_path: Path) -> None:
    truth = truth_of()
    for path in write(slices(truth), tmp_path).iterdir():
        path.write_bytes(path.read_bytes()[132:])
    assert_same(outcome(tmp_path).only, truth)


def test_row_19_a_preamble_full_of_something_else(tmp_path: Path) -> None:
    truth = truth_of()
    for path in write(slices(truth), tmp_path).iterdir():
        path.write_bytes(b"II*\0" + b"\x5a" * 124 + path.read_bytes()[128:])
    assert_same(outcome(tmp_path).only, truth)


@pytest.mark.parametrize("syntax", ["", "1.2.840.10008.1.2.999"])
def test_row_19_a_meta_header_without_a_known_syntax(tmp_path: Path, syntax: str) -> None:
    truth = truth_of()
    for path in write(slices(truth), tmp_path).iterdir():
        data = path.read_bytes()
        new = syntax.encode().ljust(19, b"\0")
        path.write_bytes(data.replace(b"1.2.840.10008.1.2.1", new, 1))
    found = outcome(tmp_path)
    if found.volumes:
        assert_same(found.only, truth)
    else:
        assert found.reasons


def test_row_19_images_without_pixels(tmp_path: Path) -> None:
    datasets = slices(truth_of())
    del datasets[1].PixelData
    write(datasets, tmp_path)
    found = outcome(tmp_path)
    assert not found.volumes
    assert "NO_PIXEL_DATA" in found.reasons


@pytest.mark.parametrize("left", [0.1, 0.5, 0.9, 0.999])
def test_row_19_a_cut_file_is_listed_and_its_series_refused(tmp_path: Path, left: float) -> None:
    write(slices(truth_of(seed=2), series="good"), tmp_path / "good")
    folder = write(slices(truth_of((40, 30, 4)), series="bad"), tmp_path / "bad")
    path = sorted(folder.iterdir())[1]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * left)])
    found = outcome(tmp_path)
    assert_same(found.of("good"), truth_of(seed=2))
    assert uid("bad") not in found.volumes
    assert found.reasons & {"TRUNCATED_FILE", "UNREADABLE_FILE", "NO_PIXEL_DATA", "MISSING_SLICES"}


# Row 24: what is no image.


def other(sop_class: str, modality: str, **tags: Any) -> Dataset:
    dataset = set_tags(Dataset(), base_tags("CT", f"other {sop_class}"))
    for keyword in ("ImageType", "SamplesPerPixel", "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept"):
        delattr(dataset, keyword)
    values = {"SOPClassUID": sop_class, "Modality": modality, "SOPInstanceUID": uid("other", sop_class, modality)}
    return set_tags(dataset, {**values, **tags})


def picture(sop_class: str, **tags: Any) -> Dataset:
    dataset = slices(truth_of((6, 5, 1)), series=f"picture {len(tags)}")[0]
    return set_tags(dataset, {"SOPClassUID": sop_class, "SOPInstanceUID": uid("picture", sop_class, tags), **tags})


def text_report() -> Dataset:
    content = item(
        RelationshipType="CONTAINS",
        ValueType="TEXT",
        ConceptNameCodeSequence=item(CodeValue="121071", CodingSchemeDesignator="DCM", CodeMeaning="Finding"),
        TextValue="No mass.",
    )
    return other(STORAGE + "88.11", "SR", ValueType="CONTAINER", ContentSequence=content, CompletionFlag="COMPLETE")


def derived(*image_type: str) -> Dataset:
    return picture(STORAGE + "2", ImageType=["DERIVED", "SECONDARY", *image_type])


LEFT_OUT: dict[str, tuple[Any, str]] = {
    "dose report": (lambda: other(STORAGE + "88.67", "SR"), "STRUCTURED_REPORT"),
    "key object selection": (lambda: other(STORAGE + "88.59", "KO"), "STRUCTURED_REPORT"),
    "CAD report": (lambda: other(STORAGE + "88.65", "SR"), "STRUCTURED_REPORT"),
    "PDF": (
        lambda: other(
            STORAGE + "104.1",
            "DOC",
            EncapsulatedDocument=b"%PDF-1.4 ",
            MIMETypeOfEncapsulatedDocument="application/pdf",
        ),
        "ENCAPSULATED_DOCUMENT",
    ),
    "presentation state": (lambda: other(STORAGE + "11.1", "PR"), "PRESENTATION_STATE"),
    "DICOMDIR": (lambda: other("1.2.840.10008.1.3.10", "OT"), "DICOMDIR"),
    "secondary capture": (lambda: picture(STORAGE + "7", ConversionType="WSD"), "SECONDARY_CAPTURE"),
    "multi-frame capture": (lambda: picture(STORAGE + "7.4", ConversionType="WSD"), "SECONDARY_CAPTURE"),
    "dose sheet": (
        lambda: picture(STORAGE + "7", ImageType=["DERIVED", "SECONDARY", "DOSE_INFO"], Modality="CT"),
        "SECONDARY_CAPTURE",
    ),
    "screen save": (lambda: derived("SCREEN SAVE"), "DERIVED_IMAGE"),
    "projection": (lambda: derived("PROJECTION IMAGE"), "DERIVED_IMAGE"),
    "maximum intensity projection": (lambda: derived("MIP"), "DERIVED_IMAGE"),
    "localizer": (lambda: picture(STORAGE + "2", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "LOCALIZER"),
    "colour": (
        lambda: picture(STORAGE + "4", SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0),
        "COLOUR_IMAGE",
    ),
    "X-ray": (lambda: picture(STORAGE + "1", Modality="CR"), "OTHER_SOP_CLASS"),
    "ultrasound": (lambda: picture(STORAGE + "6.1", Modality="US"), "OTHER_SOP_CLASS"),
    "plan": (lambda: other(STORAGE + "481.5", "RTPLAN"), "OTHER_SOP_CLASS"),
    "registration": (lambda: other(STORAGE + "66.1", "REG"), "OTHER_SOP_CLASS"),
    "waveform": (lambda: other(STORAGE + "9.1.1", "ECG"), "OTHER_SOP_CLASS"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_row_24_what_is_no_image_is_left_out_and_counted(tmp_path: Path, kind: str) -> None:
    truth = truth_of()
    make, reason = LEFT_OUT[kind]
    write(slices(truth), tmp_path)
    dataset = make()
    if dataset.get("SamplesPerPixel") == 3:
        dataset.PixelData = dataset.PixelData * 3
    save(dataset, tmp_path / "other")
    found = outcome(tmp_path)
    assert_same(found.only, truth)
    assert found.skipped == {reason: 1}


def test_row_24_texts_and_segmentations_are_taken_for_what_they_are(tmp_path: Path) -> None:
    truth = truth_of()
    write(slices(truth), tmp_path)
    save(text_report(), tmp_path / "sr")
    save(segmentation(), tmp_path / "seg")
    save(other(STORAGE + "481.3", "RTSTRUCT"), tmp_path / "rt")
    found = outcome(tmp_path)
    (study,) = found.studies
    assert_same(found.only, truth)
    assert len(study.reports) == 1
    assert tmp_path / "seg" in study.segmentations
    assert tmp_path / "rt" in study.segmentations or found.skipped.get("RTSTRUCT") == 1


def segmentation() -> Dataset:
    dataset = enhanced(frames_of_truth(truth_of(low=0, high=2)), modality="MR", series="seg")
    return set_tags(dataset, {"SOPClassUID": STORAGE + "66.4", "Modality": "SEG", "SegmentationType": "BINARY"})


def write_media(files: list[Path], folder: Path) -> None:
    """Copy files to a folder with a DICOMDIR that lists them."""
    import warnings

    from pydicom.fileset import FileSet

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        media = FileSet()
        for path in files:
            media.add(path)
        media.write(folder)
        del media
        gc.collect()


def test_row_24_a_dicomdir_leads_nowhere_else(tmp_path: Path) -> None:
    """Files are found by looking, so a DICOMDIR that lists others, or too few, changes nothing."""
    truth = truth_of()
    write(slices(truth), tmp_path / "made", names=[f"IM{n}.dcm" for n in range(4)])
    write_media(sorted((tmp_path / "made").iterdir())[:3], tmp_path / "media")
    write(slices(truth)[:1], tmp_path / "media" / "UNLISTED")
    for k, dataset in enumerate(slices(truth)):
        save(dataset, tmp_path / "media" / "UNLISTED" / f"{k}")
    found = outcome(tmp_path / "media")
    assert_same(found.only, truth)
    assert found.skipped["DICOMDIR"] == 1


def test_row_24_files_that_are_no_dicom(tmp_path: Path) -> None:
    truth = truth_of()
    write(slices(truth), tmp_path)
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" * 99)
    (tmp_path / "viewer.exe").write_bytes(b"MZ" + bytes(range(256)) * 4)
    (tmp_path / "fake.dcm").write_bytes(b"<html>not found</html>" * 20)
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "zeros").write_bytes(b"\0" * 5000)
    (tmp_path / ".hidden.dcm").write_bytes(b"x")
    found = outcome(tmp_path)
    assert_same(found.only, truth)
    assert found.skipped["OTHER_FILE"] >= 2
    assert found.reasons == {"NOT_DICOM", "TRUNCATED_FILE"}


def test_row_24_a_derived_series_with_full_geometry_stays(tmp_path: Path) -> None:
    truth = truth_of()
    write(slices(truth, ImageType=["DERIVED", "SECONDARY", "MPR"]), tmp_path)
    assert_same(outcome(tmp_path).only, truth)


# Row 25: several series.


def test_row_25_series_in_one_folder_are_told_apart_by_their_uids(tmp_path: Path) -> None:
    truths = {
        "thin": truth_of((6, 5, 8), seed=1),
        "thick": truth_of((6, 5, 4), seed=2, spacing=(0.5, 0.5, 5.0)),
        "coronal": truth_of((6, 5, 6), seed=3, orientation=CORONAL),
        "same grid": truth_of((6, 5, 8), seed=4),
    }
    datasets = []
    for n, (name, truth) in enumerate(truths.items()):
        datasets += slices(truth, series=name, SeriesNumber=n + 1)
    order = np.random.default_rng(1).permutation(len(datasets))
    write([datasets[n] for n in order], tmp_path)
    found = outcome(tmp_path)
    assert len(found.volumes) == 4
    for name, truth in truths.items():
        assert_same(found.of(name), truth)
        assert found.series[uid(name)].description == name


def test_row_25_one_series_over_many_folders(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 6))
    for k, dataset in enumerate(slices(truth)):
        save(dataset, tmp_path / f"disc {k % 3}" / "IMAGES" / f"{k}")
    assert_same(outcome(tmp_path).only, truth)


def test_row_25_several_studies(tmp_path: Path) -> None:
    for n in range(3):
        tags = {"StudyInstanceUID": uid("study", n), "PatientID": f"P{n}"}
        write(slices(truth_of(seed=n), series=f"s{n}", **tags), tmp_path / "all", names=[f"{n}-{k}" for k in range(4)])
    found = outcome(tmp_path)
    assert len(found.studies) == 3
    for n in range(3):
        assert_same(found.of(f"s{n}"), truth_of(seed=n))


def test_row_25_another_sop_class_under_the_same_series_uid(tmp_path: Path) -> None:
    truth = truth_of()
    write(slices(truth), tmp_path)
    capture = set_tags(picture(STORAGE + "7"), {"SeriesInstanceUID": uid("series")})
    save(capture, tmp_path / "capture")
    found = outcome(tmp_path)
    assert_same(found.only, truth)
    assert found.skipped == {"SECONDARY_CAPTURE": 1}
