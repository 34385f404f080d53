"""DICOM structured reports as text in sections."""

from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medfuse.domain import SectionName
from medfuse.domain.report import SAFE_SECTIONS
from medfuse.errors import UnreadableReportError
from medfuse.ingest.reports.codes import SECTION_OF_CODE
from medfuse.ingest.reports.heading_languages import HEADINGS
from medfuse.ingest.reports.reading import read_report

BASIC_TEXT = "1.2.840.10008.5.1.4.1.1.88.11"
DOSE = "1.2.840.10008.5.1.4.1.1.88.67"


def item(
    kind: str, meaning: str, *children: Dataset, code: str = "99", text: str = "", relation: str = "CONTAINS"
) -> Dataset:
    node, concept = Dataset(), Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = code, "LN", meaning
    node.ConceptNameCodeSequence = [concept]
    node.ValueType, node.RelationshipType = kind, relation
    if text:
        node.TextValue = text
    if children:
        node.ContentSequence = list(children)
    return node


def write(path: Path, *children: Dataset, sop_class: str = BASIC_TEXT) -> Path:
    dataset = item("CONTAINER", "Radiology Report", *children)
    del dataset.RelationshipType
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = sop_class, generate_uid(), "SR"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_containers_and_items_become_sections(tmp_path: Path) -> None:
    path = write(
        tmp_path / "sr",
        item("TEXT", "Person Observer Name", text="Doe", relation="HAS OBS CONTEXT"),
        item("CONTAINER", "Anamnese", item("TEXT", "Anamnese", text="54 year old."), code="11329-0"),
        item("CONTAINER", "Technique", item("TEXT", "Procedure Description", text="T1.")),
        item(
            "CONTAINER",
            "Befund",
            item("TEXT", "Detail", text="HISTORY: small"),
            item("TEXT", "x", text="left"),
            code="59776-5",
        ),
        item("CONTAINER", "Impressions", item("TEXT", "Impression", text="Atrophy.")),
    )
    report = read_report(path)
    assert [(s.name.value, report.body(s)) for s in report.sections] == [
        ("HISTORY", "54 year old."),
        ("TECHNIQUE", "T1."),
        ("FINDINGS", "HISTORY: small\nleft"),
        ("IMPRESSION", "Atrophy."),
    ]
    assert "Doe" not in report.text


def test_a_whole_report_in_one_text_is_split(tmp_path: Path) -> None:
    for meaning in ("Report Text", "History"):
        text = "HISTORY: 54.\nFINDINGS: mass"
        report = read_report(write(tmp_path / "sr", item("TEXT", meaning, text=text)))
        assert report.select((SectionName.FINDINGS,)) == "mass"
        assert "mass" not in report.select(SAFE_SECTIONS)


def test_an_answer_counts_wherever_it_stands(tmp_path: Path) -> None:
    child = item("TEXT", "Finding", text="mass", relation="INFERRED FROM", code="121071")
    report = read_report(write(tmp_path / "sr", item("TEXT", "History", child, text="54.", code="121060")))
    assert report.select(SAFE_SECTIONS) == "54."
    assert report.select((SectionName.FINDINGS,)) == "mass"


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    cases = {
        "NOT_A_REPORT": write(tmp_path / "dose", item("TEXT", "Comment", text="x"), sop_class=DOSE),
        "EMPTY_REPORT": write(tmp_path / "empty", item("CONTAINER", "Findings")),
    }
    whole = write(tmp_path / "cut", item("TEXT", "History", text="x" * 50)).read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-30])
    (tmp_path / "junk").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    for reason, path in cases.items():
        with pytest.raises(UnreadableReportError) as caught:
            read_report(path)
        assert caught.value.reason == reason
    for name in ("cut", "junk"):
        with pytest.raises(UnreadableReportError):
            read_report(tmp_path / name)


def coded(kind: str, meaning: str, value: str, relation: str = "CONTAINS") -> Dataset:
    node = item(kind, meaning, relation=relation)
    concept = Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = value, "99", value
    if kind == "CODE":
        node.ConceptCodeSequence = [concept]
        return node
    measured = Dataset()
    measured.NumericValue = value
    unit = Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "mm", "UCUM", "millimeter"
    measured.MeasurementUnitsCodeSequence = [unit]
    node.MeasuredValueSequence = [measured]
    return node


def test_codes_and_measurements_are_told_in_words(tmp_path: Path) -> None:
    findings = item(
        "CONTAINER",
        "Findings",
        item("TEXT", "Finding", text="Nodule."),
        coded("CODE", "Location", "Right upper lobe", "HAS PROPERTIES"),
        coded("NUM", "Diameter", "8"),
        coded("CODE", "Language", "English", "HAS CONCEPT MOD"),
        code="121070",
    )
    report = read_report(write(tmp_path / "sr", findings))
    assert report.select((SectionName.FINDINGS,)) == "Nodule.\nLocation: Right upper lobe\nDiameter: 8 mm"


def test_measurements_without_any_text_are_no_report(tmp_path: Path) -> None:
    path = write(tmp_path / "sr", item("CONTAINER", "Findings", coded("NUM", "Diameter", "8"), code="121070"))
    with pytest.raises(UnreadableReportError) as caught:
        read_report(path)
    assert caught.value.reason == "EMPTY_REPORT"


def test_a_family_history_keeps_its_name(tmp_path: Path) -> None:
    family = item("CONTAINER", "Family history", item("TEXT", "Detail", text="Dementia."))
    report = read_report(write(tmp_path / "sr", item("CONTAINER", "History", family, code="121060")))
    assert report.select((SectionName.HISTORY,)) == "Family history: Dementia."


@pytest.mark.parametrize(
    ("meaning", "name"),
    [("Befund", "FINDINGS"), ("Résultats", "FINDINGS"), ("诊断意见", "IMPRESSION"), ("Anamnese", "HISTORY")],
)
def test_headings_of_other_languages(tmp_path: Path, meaning: str, name: str) -> None:
    path = write(tmp_path / "sr", item("CONTAINER", meaning, item("TEXT", "x", text="y.")))
    assert [section.name.value for section in read_report(path).sections] == [name]


def test_a_report_without_preamble_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bare"
    dataset = pydicom.dcmread(write(path, item("TEXT", "History", text="54.")))
    pydicom.dcmwrite(path, Dataset(dataset), implicit_vr=False, little_endian=True)
    assert path.read_bytes()[:2] == b"\x08\x00"
    assert read_report(path).select((SectionName.HISTORY,)) == "54."


def test_codes_agree_with_the_standards_headings() -> None:
    """PS3.16 CID 7001 and 7002 as pydicom holds them: a code that names a heading of ours must mean it."""
    by_title = {title: name for name, titles in HEADINGS["en"].items() for title in titles}
    seen = 0
    for cid in (codes.cid7001, codes.cid7002):
        for concept in cid.concepts.values():
            expected = by_title.get(concept.meaning.upper())
            if expected is not None:
                assert SECTION_OF_CODE.get(concept.value) == expected, concept
                seen += 1
    assert seen > 15


@pytest.mark.realdata
def test_measurement_reports_hold_no_text(shared_data: Path) -> None:
    for name in ("sr_document.dcm", "sr_document_with_multiple_groups.dcm"):
        with pytest.raises(UnreadableReportError) as caught:
            read_report(shared_data / "dicom-objects" / "highdicom" / name)
        assert caught.value.reason == "EMPTY_REPORT"
