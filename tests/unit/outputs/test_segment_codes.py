"""A segment's name -> DICOM's coded words."""

import pytest
from pydicom.sr.codedict import codes

from medfuse.domain import Code, Segment
from medfuse.outputs.segment_codes import codes_for


@pytest.mark.parametrize(
    ("name", "category", "kind", "modifiers"),
    [
        ("hippocampus", "Anatomical Structure", "5366008", []),
        ("anterior hippocampus", "Anatomical Structure", "5366008", ["255549009"]),
        ("Hippocampus_Posterior", "Anatomical Structure", "5366008", ["255551008"]),
        ("hippocampus head", "Anatomical Structure", "5366008", ["255549009"]),
        ("left lung", "Anatomical Structure", "39607008", ["7771000"]),
        ("LUNGS", "Anatomical Structure", "39607008", []),
        ("right atrium", "Anatomical Structure", "73829009", []),
        ("lung nodule", "Morphologically Abnormal Structure", "27925004", []),
        ("tumour", "Morphologically Abnormal Structure", "108369006", []),
        ("Oedema", "Morphologically Abnormal Structure", "79654002", []),
        ("enhancing tumor", "Morphologically Abnormal Structure", "C113842", []),
        ("anterior", "Tissue", "85756007", []),
        ("pancreas head", "Tissue", "85756007", []),
        ("what is this", "Tissue", "85756007", []),
        ("", "Tissue", "85756007", []),
    ],
)
def test_codes(name: str, category: str, kind: str, modifiers: list[str]) -> None:
    found = codes_for(Segment(number=1, name=name))
    assert (found.category.meaning, found.type.value) == (category, kind)
    assert [modifier.value for modifier in found.modifiers] == modifiers


def test_a_segment_keeps_the_codes_that_it_brings() -> None:
    category = Code(value="91723000", scheme="SCT", meaning="Anatomical Structure")
    kind = Code(value="78277001", scheme="SCT", meaning="Hippocampus head")
    found = codes_for(Segment(number=1, name="liver", category=category, type=kind))
    assert (found.category, found.type, found.modifiers) == (category, kind, ())


def test_every_other_name_for_a_thing_leads_to_a_code() -> None:
    from medfuse.outputs.segment_codes import _SAME_AS, _dictionary

    assert set(_SAME_AS.values()) <= set(_dictionary())


def test_the_categories_are_of_their_context_group() -> None:
    for name in ("liver", "edema", "unheard of"):
        category = codes_for(Segment(number=1, name=name)).category
        assert category.value in {code.value for code in codes.CID7150.concepts.values()}
