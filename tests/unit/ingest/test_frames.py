"""What a header says of a slice. A dictionary is a header: it has `.get`."""

import math
import struct
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import Frame, frames_of, number, seconds, text, whole, words

PATH = Path("IM1")
PLANE = {
    "ImagePositionPatient": [1.0, 2.0, 3.0],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PixelSpacing": [1.5, 0.5],
    "Rows": 4,
    "Columns": 5,
}


def frame(**tags: Any) -> Frame:
    (only,) = frames_of(PATH, {**PLANE, **tags})
    return only


def reason(**tags: Any) -> str:
    with pytest.raises(UnreadableSeriesError) as caught:
        frame(**tags)
    assert "IM1" in caught.value.detail or caught.value.reason == "COLOUR_IMAGE"
    return caught.value.reason


def test_a_plain_header() -> None:
    found = frame(RescaleSlope="2.5", RescaleIntercept=-7, SOPInstanceUID="1.2 ", InstanceNumber="9", EchoTime=4)
    assert (found.position_mm, found.spacing_mm, found.shape) == ((1, 2, 3), (1.5, 0.5), (4, 5))
    assert (found.slope, found.intercept, found.sop_instance_uid, found.instance_number) == (2.5, -7, "1.2", 9)


def test_equal_headers_share_their_facts() -> None:
    assert frame(Modality="CT", KVP=120).facts is frame(Modality="CT", KVP=120).facts


def test_what_a_series_is_chosen_by() -> None:
    made = frame(
        Modality="MR",
        ImageType=["original", "PRIMARY", "M"],
        ProtocolName=" t1 ",
        ScanningSequence=["GR", "IR"],
        SequenceName="*tfl",
        EchoTime=3.1,
        RepetitionTime=2000,
        InversionTime="900",
        SliceThickness=1,
        Manufacturer="SIEMENS",
    ).facts
    acquisition = made.acquisition
    assert (made.kind, acquisition.image_type) == ("magnitude", ("ORIGINAL", "PRIMARY", "M"))
    assert (acquisition.protocol, acquisition.sequence) == ("t1", "GR\\IR *tfl")
    assert (acquisition.echo_time_ms, acquisition.repetition_time_ms, acquisition.inversion_time_ms) == (3.1, 2000, 900)


@pytest.mark.parametrize("value", [None, "", [1.0, 2.0], "1\\2\\3", 7, [1, 2, "x"]])
def test_every_missing_tag_is_named(value: Any) -> None:
    with pytest.raises(UnreadableSeriesError) as caught:
        frame(ImagePositionPatient=value, PixelSpacing=None)
    assert caught.value.reason == "MISSING_GEOMETRY"
    assert "ImagePositionPatient (0020,0032), PixelSpacing (0028,0030)" in caught.value.detail
    assert "ImageOrientationPatient" not in caught.value.detail


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"RescaleSlope": 0}, "INVALID_RESCALE"),
        ({"RescaleSlope": math.nan}, "INVALID_RESCALE"),
        ({"RescaleIntercept": math.inf}, "INVALID_RESCALE"),
        ({"RescaleSlope": "one"}, "INVALID_RESCALE"),
        ({"Rows": 0}, "INCONSISTENT_GEOMETRY"),
        ({"Columns": None}, "INCONSISTENT_GEOMETRY"),
        ({"SamplesPerPixel": 3}, "COLOUR_IMAGE"),
        ({"NumberOfFrames": 4}, "MISSING_GEOMETRY"),
    ],
)
def test_what_has_no_meaning_is_refused(tags: dict[str, Any], expected: str) -> None:
    assert reason(**tags) == expected


@pytest.mark.parametrize(
    ("image_type", "kind"),
    [
        (["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"], "magnitude"),
        (["ORIGINAL", "PRIMARY", "P", "ND"], "phase"),
        (["ORIGINAL", "PRIMARY", "PHASE MAP", "P"], "phase"),
        (["ORIGINAL", "PRIMARY", "R"], "real"),
        (["DERIVED", "SECONDARY", "I"], "imaginary"),
        (["ORIGINAL", "PRIMARY", "OTHER"], ""),
        (["M", "P"], ""),
    ],
)
def test_the_kind_of_an_mr_image(image_type: list[str], kind: str) -> None:
    assert frame(Modality="MR", ImageType=image_type).facts.kind == kind


def test_a_complex_component_wins_over_image_type() -> None:
    tags = {"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "M"], "ComplexImageComponent": "PHASE"}
    assert frame(**tags).facts.kind == "phase"


PRIVATE = {
    "Siemens": ("SIEMENS", 0x0019, "SIEMENS MR HEADER", 0x0C, "IS", 1000, 1000),
    "Siemens, unknown bytes": ("SIEMENS", 0x0019, "SIEMENS MR HEADER", 0x0C, "UN", b"700 ", 700),
    "GE": ("GE MEDICAL SYSTEMS", 0x0043, "GEMS_PARM_01", 0x39, "IS", [1_000_000_800, 8, 0, 0], 800),
    "GE, unknown bytes": ("GE MEDICAL SYSTEMS", 0x0043, "GEMS_PARM_01", 0x39, "UN", b"800\\8\\0\\0 ", 800),
    "Philips": ("Philips", 0x2001, "Philips Imaging DD 001", 0x03, "FL", 40.0, 40),
    "Philips, unknown bytes": ("Philips", 0x2001, "Philips Imaging DD 001", 0x03, "UN", struct.pack("<f", 40), 40),
    "under another name": ("renamed", 0x0043, "GEMS_PARM_01", 0x39, "IS", [800, 8], 800),
}


def header(maker: str, group: int, creator: str, element: int, vr: str, value: Any) -> Dataset:
    dataset = Dataset()
    for keyword, known in {**PLANE, "Modality": "MR", "Manufacturer": maker}.items():
        setattr(dataset, keyword, known)
    if creator:
        dataset.add_new((group, 0x10), "LO", creator)
    dataset.add_new((group, 0x1000 | element), vr, value)
    return dataset


@pytest.mark.parametrize("case", PRIVATE)
def test_b_values_of_manufacturers(case: str) -> None:
    *place, expected = PRIVATE[case]
    (found,) = frames_of(PATH, header(*place))
    assert found.facts.acquisition.b_value == expected


def test_a_b_value_whose_creator_was_removed_is_the_manufacturers() -> None:
    (found,) = frames_of(PATH, header("GE MEDICAL SYSTEMS", 0x0043, "", 0x39, "IS", [800, 8]))
    assert found.facts.acquisition.b_value == 800
    (found,) = frames_of(PATH, header("somebody", 0x0043, "", 0x39, "IS", [800, 8]))
    assert found.facts.acquisition.b_value is None


def test_the_standard_b_value_comes_first() -> None:
    dataset = header(*PRIVATE["Siemens"][:-1])
    dataset.DiffusionBValue = 50.0
    dataset.DiffusionGradientOrientation = [0.0, -1.0, 0.00004]
    (found,) = frames_of(PATH, dataset)
    assert (found.facts.acquisition.b_value, found.gradient) == (50, (0, -1, 0))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("101530.25", 36930.25),
        ("10:15:30", 36930),
        ("1015", 36900),
        ("20200101101530.5", 36930.5),
        ("20200101101530+0100", 36930),
        ("", None),
        (None, None),
        ("noon", None),
    ],
)
def test_times_of_day(value: Any, expected: float | None) -> None:
    assert seconds(value) == expected


def test_values_of_any_type() -> None:
    assert (number("1.5 "), number(math.inf), number(""), number("x")) == (1.5, None, None, None)
    assert (whole("7"), whole(None), whole(math.inf)) == (7, None, None)
    assert (text([" a ", "b\0"]), text(None), words("original\\axial "), words("")) == (
        "a\\b",
        "",
        ("ORIGINAL", "AXIAL"),
        (),
    )
