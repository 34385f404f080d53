"""The patient's names, identifiers and birth date go out of the stored text, and nothing else does."""

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.outputs.masking import identity_terms, masked


def header(**values: object) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("values", "text", "expected"),
    [
        ({"PatientName": "Quixana^Zebulon"}, "Mr. Quixana, ZEBULON:", "Mr. XXXXXXX, XXXXXXX:"),
        ({"PatientName": "Quixana^Zebulon"}, "quixanas zebulone", "quixanas zebulone"),
        ({"PatientName": "O'Hara-Lee^Jo"}, "Ms O'Hara-Lee and Jo", "Ms XXXXXXXXXX and Jo"),
        ({"PatientName": "Wang^Xiao=王^小东"}, "患者王小东", "患者XXX"),
        ({"PatientName": "Müller^"}, "Frau MÜLLER", "Frau XXXXXX"),
        ({"OtherPatientNames": ["Alpha^Beta", "Gamma^"]}, "alpha gamma", "XXXXX XXXXX"),
        ({"PatientID": "MRN-7788"}, "id MRN-7788, MRN-77881", "id XXXXXXXX, MRN-77881"),
        ({"PatientID": "71"}, "a man of 71", "a man of 71"),
        ({"PatientBirthDate": "19510302"}, "born 02.03.1951", "born XXXXXXXXXX"),
        ({"PatientBirthDate": "19510302"}, "DOB 3/2/1951, 1951-03-02", "DOB XXXXXXXX, XXXXXXXXXX"),
        ({"PatientBirthDate": ""}, "born 1951", "born 1951"),
        ({}, "nothing", "nothing"),
        ({"PatientName": "", "PatientID": None}, "nothing", "nothing"),
    ],
)
def test_masked(values: dict[str, object], text: str, expected: str) -> None:
    assert masked(text, identity_terms(header(**values))) == expected


def test_identifiers_in_a_sequence() -> None:
    item = header(PatientID="OTHER-99")
    assert masked("OTHER-99", identity_terms(header(OtherPatientIDsSequence=[item]))) == "XXXXXXXX"


@given(text=st.text(), terms=st.frozensets(st.text(min_size=1), max_size=4))
def test_the_length_is_kept(text: str, terms: frozenset[str]) -> None:
    assert len(masked(text, terms)) == len(text)


@given(text=st.text())
def test_without_terms_the_text_is_kept(text: str) -> None:
    assert masked(text, ()) == text
