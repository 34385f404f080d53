"""The table of PS3.15 annex E and its options."""

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from medfuse.ingest.deidentify import options as columns
from medfuse.ingest.deidentify.profile import Action, Options, Profile, basic_profile, edition

KEPT = ("Rows", "PixelSpacing", "ImagePositionPatient", "Modality", "SOPClassUID", "TransferSyntaxUID", "RescaleSlope")


def action(keyword: str, **options: bool) -> Action | None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return Profile(Options(**options)).action(tag, dictionary_VR(tag))


def test_the_table_is_a_recent_one_and_whole() -> None:
    assert edition() >= "2026c"
    assert len(basic_profile()) > 640


@pytest.mark.parametrize(
    ("keyword", "expected"),
    [
        ("PatientName", "Z"),
        ("PatientAge", "X"),
        ("StudyInstanceUID", "U"),
        ("ReferencedImageSequence", "U"),
        ("ContentDate", "D"),
        ("SeriesDescription", "X"),
        ("DeviceSerialNumber", "D"),
        ("IconImageSequence", "X"),
        ("ContentSequence", "C"),
        ("TextValue", "C"),
        ("CreatorVersionUID", "U"),
        ("RetrieveURL", "Z"),
        ("EvaluatorName", "D"),
        ("DateOfGainCalibration", "D"),
    ],
)
def test_the_basic_profile(keyword: str, expected: str) -> None:
    assert action(keyword) == expected


@pytest.mark.parametrize("keyword", KEPT)
def test_what_makes_the_image_is_kept(keyword: str) -> None:
    assert action(keyword) is None


@pytest.mark.parametrize(
    ("option", "keyword", "expected"),
    [
        ("clean_descriptors", "SeriesDescription", "C"),
        ("retain_dates", "StudyDate", "shift"),
        ("retain_dates", "AcquisitionDateTime", "shift"),
        ("retain_dates", "TimezoneOffsetFromUTC", "K"),
        ("retain_dates", "PatientBirthDate", "Z"),
        ("retain_device", "DeviceSerialNumber", "K"),
        ("retain_device", "DateOfLastCalibration", "X"),
        ("retain_device", "StationAETitle", "X"),
        ("retain_patient_characteristics", "PatientAge", "K"),
        ("retain_patient_characteristics", "Allergies", "C"),
    ],
)
def test_an_option_softens_what_it_names(option: str, keyword: str, expected: str) -> None:
    assert action(keyword, **{option: True}) == expected


def test_options_never_touch_names_and_identifiers() -> None:
    everything = Profile(Options(**dict.fromkeys(Options().as_dict(), True)))
    for keyword in (
        "PatientName",
        "PatientID",
        "OtherPatientIDs",
        "PatientAddress",
        "InstitutionName",
        "AccessionNumber",
    ):
        tag = tag_for_keyword(keyword)
        assert tag is not None
        assert everything.action(tag, "LO") in ("X", "Z", "D")


def test_the_columns_name_attributes_of_the_table() -> None:
    named = columns.DESCRIPTORS | columns.DEVICE | columns.PATIENT_KEPT | columns.PATIENT_CLEANED
    assert named <= set(basic_profile())
    assert (len(columns.DESCRIPTORS), len(columns.DEVICE)) == (123, 46)


def test_the_codes_say_which_options_were_on() -> None:
    assert [code for code, _ in Options().codes] == ["113100", "113104"]
    assert ("113107", "Retain Longitudinal Temporal Information Modified Dates Option") in Options(
        retain_dates=True
    ).codes
