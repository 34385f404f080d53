"""The coded words of reports."""

import pydicom
import pytest
from pydicom.sr.codedict import codes

from medfuse.domain import Code, Quantity
from medfuse.outputs import report_codes as words
from medfuse.outputs.report_codes import declare_private_codes, finding_code, mean_name, private_code, unit_code


@pytest.mark.parametrize(
    ("name", "value", "scheme"),
    [
        ("nodule", "27925004", "SCT"),
        ("Lung_Nodule", "27925004", "SCT"),
        ("pleural effusion", "60046008", "SCT"),
        ("pericardial effusion", "373945007", "SCT"),
        ("cardiomegaly", "287272002", "SCT"),
        ("Oedema", "79654002", "SCT"),
        ("haemorrhage", "50960005", "SCT"),
        ("lymphadenopathy", "30746006", "SCT"),
        ("mosaic attenuation pattern", "112130", "DCM"),
        ("ground glass opacity", "112120", "DCM"),
        ("impairment", "IMPAIRMENT", "99MEDFUSE"),
        ("malignancy_risk", "MALIGNANCY_RISK", "99MEDFUSE"),
    ],
)
def test_the_code_of_a_finding(name: str, value: str, scheme: str) -> None:
    code = finding_code(name)
    assert (code.value, code.scheme) == (value, scheme)


@pytest.mark.parametrize("name", list(words._SAME_AS))
def test_every_other_name_leads_to_a_code_of_the_standard(name: str) -> None:
    assert finding_code(name).scheme != words.PRIVATE_SCHEME


@pytest.mark.parametrize("name", ["a", "a very long name of a finding", "海马", "a b", "a_b", "A-b!", "", "x" * 200])
def test_a_code_of_our_own_fits_dicom_and_tells_names_apart(name: str) -> None:
    code = private_code(name)
    assert 1 <= len(code.value) <= 16
    assert code.value.isascii()
    assert 1 <= len(code.meaning) <= 64
    assert code == private_code(name)


def test_long_names_that_begin_alike_have_different_codes() -> None:
    assert private_code("a very long name of a finding").value != private_code("a very long name of another").value
    assert private_code("海马").value != private_code("脑").value


def test_every_word_of_the_standard_is_one() -> None:
    """Each constant is in pydicom's copy of PS3.16, under its own meaning."""
    from pydicom.sr._concepts_dict import concepts

    ours = [value for value in vars(words).values() if isinstance(value, Code)]
    ours += [*words.MEAN_NAMES.values(), mean_name(Quantity.ARBITRARY, "MR")]
    assert len(ours) > 15
    for code in ours:
        meanings = {found[code.value][0].lower() for found in concepts[code.scheme].values() if code.value in found}
        if code.scheme != "UCUM":
            assert code.meaning.lower() in meanings, code
        else:
            assert meanings or code in (words.MM, *words.MEAN_UNITS.values()), code


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("", "1"),
        ("mm", "mm"),
        ("years", "{years}"),
        ("points {0-3}", "{points0-3}"),
        ("ml/(min.m2) and more", None),
        ("日", "1"),
    ],
)
def test_units_are_ucum(unit: str, value: str | None) -> None:
    code = unit_code(unit)
    assert code.scheme == "UCUM"
    assert len(code.value) <= 16
    if value is not None:
        assert code.value == value


def test_the_mean_of_what_has_no_unit() -> None:
    assert mean_name(Quantity.HOUNSFIELD, "CT").value == codes.DCM.AttenuationCoefficient.value
    assert mean_name(Quantity.ARBITRARY, "OT").scheme == words.PRIVATE_SCHEME


def test_the_private_scheme_is_declared() -> None:
    dataset = pydicom.Dataset()
    declare_private_codes(dataset)
    assert dataset.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99MEDFUSE"
