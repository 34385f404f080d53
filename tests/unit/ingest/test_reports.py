"""Headings wherever reports put them, text encodings, and what is refused."""

from pathlib import Path

import pytest

from medfuse.domain import Report, SectionName
from medfuse.domain.report import SAFE_SECTIONS
from medfuse.errors import UnreadableReportError
from medfuse.ingest.reports.reading import MAX_REPORT_BYTES, parse_report, read_report
from medfuse.ingest.reports.sectioning import _by_title


def bodies(report: Report) -> list[tuple[str, str]]:
    return [(section.name.value, report.body(section)) for section in report.sections]


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("CLINICAL HISTORY:", "HISTORY"),
        ("HISTORY:", "HISTORY"),
        ("Indication:", "INDICATION"),
        ("REASON FOR EXAM:", "INDICATION"),
        ("CLINICAL INFORMATION:", "INDICATION"),
        ("Clinical  information :", "INDICATION"),
        ("TECHNIQUE:", "TECHNIQUE"),
        ("COMPARISON:", "COMPARISON"),
        ("FINDINGS:", "FINDINGS"),
        ("findings:", "FINDINGS"),
        ("FINDINGS -", "FINDINGS"),
        ("FINDINGS", "FINDINGS"),
        ("FINDINGS (CT):", "FINDINGS"),
        ("Findings on CT of the chest:", "FINDINGS"),
        ("**FINDINGS:**", "FINDINGS"),
        ("## Impression:", "IMPRESSION"),
        ("1. IMPRESSION:", "IMPRESSION"),
        ("IMPRESSION/RECOMMENDATION:", "IMPRESSION"),
        ("FINDINGS AND IMPRESSION:", "FINDINGS"),
        ("HISTORY AND FINDINGS:", "FINDINGS"),
        ("CONCLUSION:", "IMPRESSION"),
        ("OPINION:", "IMPRESSION"),
        ("RESULT：", "FINDINGS"),
        ("ADDENDUM:", "OTHER"),
    ],
)
@pytest.mark.parametrize("break_", ["\n", "\r\n", "\r", "\u2028"])
def test_a_heading_at_the_start_of_a_line_opens_its_section(heading: str, name: str, break_: str) -> None:
    report = parse_report(f"a first line{break_}   {heading} body text{break_}more")
    assert [section.name.value for section in report.sections] == ["OTHER", name]
    assert report.body(report.sections[1]).endswith(f"body text{break_}more")


@pytest.mark.parametrize(
    "line", ["FINDINGS", "Findings", "FINDINGS:", "findings:", "  FINDINGS  ", "[FINDINGS]", "FINDINGS\t:"]
)
def test_a_heading_alone_on_its_line_opens_its_section(line: str) -> None:
    assert bodies(parse_report(f"TECHNIQUE: CT.\n{line}\nmass")) == [("TECHNIQUE", "CT."), ("FINDINGS", "mass")]


@pytest.mark.parametrize(
    "text",
    [
        "HISTORY: no significant\nhistory of falls",
        "HISTORY: pain with normal\nfindings",
        "HISTORY: family history: none",
        "HISTORY: Brother with history of: falls",
        "HISTORY: 78 year old.\nMMSE: 20/30",
        "HISTORY: 78 YEAR OLD WITH PRIOR\nCT",
        "HISTORY: known\nTechnique dependent pain",
        "HISTORY: pain\nMEDICATIONS: aspirin",
        "HISTORY: the mass in the lung: known, heart: normal",
        "HISTORY: seen elsewhere. Heart: bypass in 2012",
        "HISTORY: prehistory: none; findingsless: none",
    ],
)
def test_words_of_a_sentence_open_nothing(text: str) -> None:
    assert bodies(parse_report(text)) == [("HISTORY", text.removeprefix("HISTORY: "))]


@pytest.mark.parametrize(
    "text",
    [
        "Indication: cough. Technique: CT. Findings: mass. Impression: cancer.",
        "INDICATION: cough TECHNIQUE: CT  FINDINGS: mass IMPRESSION: cancer.",
        "indication: cough. technique: ct. findings: mass. impression: cancer",
        "TECHNIQUE: CT with contrast Findings: mass",
        "TECHNIQUE: CT. CT CHEST FINDINGS: mass",
        "TECHNIQUE: CT. **Findings:** mass",
        "TECHNIQUE: CT.\nFINDINGS mass",
        "TECHNIQUE: CT.\n                              FINDINGS mass",
        "TECHNIQUE: CT.\n\nLUNGS: mass",
        "TECHNIQUE: CT.\n\nHeart and mediastinum: mass",
        "TECHNIQUE: CT.\n\nSEGMENT BY SEGMENT:\nmass",
        "TECHNIQUE: CT.\nBEFUND:\nmass",
        "TECHNIQUE: CT.\nDiagnosis: mass",
    ],
)
def test_the_answer_stays_out_of_the_default_text_input(text: str) -> None:
    selected = parse_report(text).select(SAFE_SECTIONS)
    assert "mass" not in selected
    assert "cancer" not in selected
    assert "CT" in selected.upper()


def test_a_flattened_report_is_split_within_its_line() -> None:
    assert bodies(parse_report("Indication: cough. Technique: CT. Comparison: None. Findings: mass.")) == [
        ("INDICATION", "cough."),
        ("TECHNIQUE", "CT."),
        ("COMPARISON", "None."),
        ("FINDINGS", "mass."),
    ]


def test_subheadings_stay_in_the_body_because_they_carry_meaning() -> None:
    text = (
        "HISTORY: falls\nFAMILY HISTORY: dementia\nTECHNIQUE: CT\nLUNGS: clear\nHEART: big\nIMPRESSION: big\nHEART: big"
    )
    assert bodies(parse_report(text)) == [
        ("HISTORY", "falls\nFAMILY HISTORY: dementia"),
        ("TECHNIQUE", "CT"),
        ("FINDINGS", "LUNGS: clear\nHEART: big"),
        ("IMPRESSION", "big\nHEART: big"),
    ]


def test_text_without_a_heading_is_other() -> None:
    assert bodies(parse_report("54 year old male, forgetful.")) == [("OTHER", "54 year old male, forgetful.")]
    assert parse_report("").sections == ()
    assert bodies(parse_report(" \n HISTORY: x")) == [("HISTORY", "x")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "KLINISCHE ANGABEN: Husten.\nTechnik: CT.\nBefund: Herd.\nBeurteilung: Tumor.",
            ["INDICATION", "TECHNIQUE", "FINDINGS", "IMPRESSION"],
        ),
        ("ANAMNESE\nHusten\nFAMILIENANAMNESE: Krebs\nBEFUND\nHerd", ["HISTORY", "FINDINGS"]),
        ("Befund und Beurteilung: Tumor", ["FINDINGS"]),
        ("Diagnose: Tumor", ["IMPRESSION"]),
        ("Indication : toux.\nRÉSULTATS :\nNodule.\n\nCONCLUSION\nNodule", ["INDICATION", "FINDINGS", "IMPRESSION"]),
        ("Renseignements cliniques\u00a0: toux. RESULTAT\u202f: nodule.", ["INDICATION", "FINDINGS"]),
        (
            "MOTIVO DE CONSULTA: tos\nHallazgos: nódulo\nIMPRESION DIAGNOSTICA: nódulo",
            ["INDICATION", "FINDINGS", "IMPRESSION"],
        ),
        ("Antecedentes: HTA.\nAntecedentes familiares: cáncer\nHallazgos: nódulo", ["HISTORY", "FINDINGS"]),
        ("病史：咳嗽\n检查所见：双肺结节。\n诊断意见：\n1. 结节", ["HISTORY", "FINDINGS", "IMPRESSION"]),
        ("病史：咳嗽。检查所见：结节。印象：肺癌。", ["HISTORY", "FINDINGS", "IMPRESSION"]),
        ("病史：咳嗽\n【影像所见】双肺结节\n【诊断】结节", ["HISTORY", "FINDINGS", "IMPRESSION"]),
        ("病史：咳嗽\n影像学表现双肺纹理\n印象\n结节", ["HISTORY", "FINDINGS", "IMPRESSION"]),
        ("一、病史：咳嗽\n二、检查所见：结节", ["HISTORY", "FINDINGS"]),
        ("临床诊断：肺癌", ["IMPRESSION"]),
        ("病史：咳嗽\n图像质量评价：\n好", ["HISTORY", "OTHER"]),
        ("II. FINDINGS: mass", ["FINDINGS"]),
    ],
)
def test_headings_of_other_languages(text: str, expected: list[str]) -> None:
    assert [section.name.value for section in parse_report(text).sections] == expected


@pytest.mark.parametrize(
    "text",
    [
        "病史：未见所见异常",
        "Anamnese: Der Befund von gestern\nbefund unklar",
        "Antécédents: douleur avec conclusion\nhistoire longue",
    ],
)
def test_words_of_a_sentence_open_nothing_in_other_languages(text: str) -> None:
    assert [section.name.value for section in parse_report(text).sections] == ["HISTORY"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    bom = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    path = tmp_path / "report.txt"
    path.write_bytes(bom + "HISTORY: Méningiome, 3 × 2 cm, 37°".encode(encoding))
    assert read_report(path).select((SectionName.HISTORY,)) == "Méningiome, 3 × 2 cm, 37°"


def test_windows_quotes_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_bytes(b"HISTORY: \x93worst headache\x94 \x80")
    assert read_report(path).text == "HISTORY: “worst headache” €"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "EMPTY_REPORT"),
        (b"\xef\xbb\xbf \r\n\t", "EMPTY_REPORT"),
        (b"HISTORY: x\x00y", "NOT_TEXT"),
        ("HISTORY: x".encode("utf-32"), "NOT_TEXT"),
        (bytes(range(1, 32)) * 10, "NOT_TEXT"),
        (b"%PDF-1.4\n\x81\x8d\x8f\x00", "NOT_TEXT"),
        (b"\xff\xfea\x00\x00\xd8", "NOT_TEXT"),
        ("病歴：頭痛".encode("shift-jis"), "UNKNOWN_ENCODING"),
        (b"a" * (MAX_REPORT_BYTES + 1), "REPORT_TOO_LARGE"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "report.txt"
    path.write_bytes(data)
    with pytest.raises(UnreadableReportError) as caught:
        read_report(path)
    assert caught.value.reason == reason
    assert "\n" not in caught.value.detail
    assert str(tmp_path) not in caught.value.detail


def test_a_heading_that_languages_disagree_on_states_the_answer() -> None:
    tables = {"aa": {SectionName.FINDINGS: ("X",)}, "bb": {SectionName.HISTORY: ("X", "Y")}}
    assert _by_title(tables) == {"x": SectionName.FINDINGS, "y": SectionName.HISTORY}
    assert _by_title(dict(reversed(tables.items()))) == {"x": SectionName.FINDINGS, "y": SectionName.HISTORY}


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(UnreadableReportError):
            read_report(path)


@pytest.mark.realdata
def test_notes_of_the_hippocampus_studies(shared_data: Path) -> None:
    reports = [read_report(path) for path in sorted((shared_data / "hippocampus" / "dicom").glob("*/report.txt"))]
    names = [tuple(section.name for section in report.sections) for report in reports]
    assert len(reports) == 185
    assert {sections[0] for sections in names} == {SectionName.HISTORY, SectionName.INDICATION}
    assert all(sections[1] is SectionName.TECHNIQUE for sections in names)
    assert sum(sections[2:] == (SectionName.FINDINGS, SectionName.IMPRESSION) for sections in names) == 98
    assert sum(len(sections) == 2 for sections in names) == 87
    assert not any("volume is" in report.select(SAFE_SECTIONS) for report in reports)
