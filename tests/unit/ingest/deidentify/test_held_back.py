"""Which objects are held back for what their pixels may show."""

import pytest
from pydicom.dataset import Dataset

from medfuse.ingest.deidentify.held_back import reason_to_hold

STORAGE = "1.2.840.10008.5.1.4.1.1."


def header(kind: str, **tags: object) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = STORAGE + kind
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("kind", "tags", "expected"),
    [
        ("2", {}, None),
        ("2.1", {"ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]}, None),
        ("4", {"BurnedInAnnotation": "YES"}, "BURNED_IN_ANNOTATION"),
        ("2", {"RecognizableVisualFeatures": "YES"}, "RECOGNISABLE_FEATURES"),
        ("2", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "SCREENSHOT"),
        ("2", {"ImageType": ["ORIGINAL", "SECONDARY", "DOSE_INFO"]}, "SCREENSHOT"),
        ("2", {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, None),
        ("4", {"ConversionType": "WSD"}, "SCREENSHOT"),
        ("4", {"SamplesPerPixel": 3}, "COLOUR_IMAGE"),
        ("4", {"SamplesPerPixel": 3, "BurnedInAnnotation": "NO"}, None),
        ("7", {}, "SECONDARY_CAPTURE"),
        ("7.4", {"BurnedInAnnotation": "NO"}, "SECONDARY_CAPTURE"),
        ("6.1", {}, "ULTRASOUND"),
        ("3.1", {}, "ULTRASOUND"),
        ("77.1.6", {}, "PHOTOGRAPH"),
        ("104.1", {}, "ENCAPSULATED_DOCUMENT"),
        ("9.4.1", {}, "WAVEFORM"),
        ("66", {}, "RAW_DATA"),
        ("4.2", {}, "RAW_DATA"),
        ("66.4", {}, None),
        ("66.7", {}, None),
        ("88.11", {}, None),
        ("88.67", {}, None),
        ("481.3", {}, None),
        ("1.1", {}, "BURNED_IN_UNKNOWN"),
        ("1.1", {"BurnedInAnnotation": "NO"}, None),
        ("1.2.3", {"BurnedInAnnotation": "YES"}, "BURNED_IN_ANNOTATION"),
        ("999", {}, "UNKNOWN_KIND"),
        ("20", {}, None),
        ("200.1", {}, "UNKNOWN_KIND"),
    ],
)
def test_reasons(kind: str, tags: dict[str, object], expected: str | None) -> None:
    assert reason_to_hold(header(kind, **tags)) == expected


def test_a_private_kind_is_unknown() -> None:
    dataset = Dataset()
    dataset.SOPClassUID = "1.3.12.2.1107.5.9.1"
    assert reason_to_hold(dataset) == "UNKNOWN_KIND"
