"""Reports in HL7 version 2: fields, escapes, character sets, sections, and messages that stray from the standard."""

import base64
import logging
from pathlib import Path

import pytest

from medfuse.domain import Report
from medfuse.errors import UnreadableReportError
from medfuse.ingest.reports.hl7 import is_hl7, read_hl7
from medfuse.ingest.reports.reading import is_report_file, read_report, read_reports


def message(*segments: str, charset: str = "", control: str = "M1") -> str:
    header = rf"MSH|^~\&|RIS|H|PACS|H|20240101||ORU^R01|{control}|P|2.5|||||||{charset}"
    return "\r".join([header, "PID|1||4711||Doe^Jane", *segments]) + "\r"


def obx(value: str, identifier: str = "", kind: str = "TX", status: str = "F", units: str = "") -> str:
    return f"OBX|1|{kind}|{identifier}||{value}|{units}|||||{status}"


def only(data: str | bytes) -> Report:
    ((_, report),) = read_hl7(data if isinstance(data, bytes) else data.encode(), "m.hl7")
    return report


def bodies(report: Report) -> list[tuple[str, str]]:
    return [(section.name.value, report.body(section)) for section in report.sections]


def test_sections_by_code_suffix_and_words() -> None:
    report = only(
        message(
            "OBR|1|P1|F1^RIS||CT",
            obx("cough", "55752-0^Clinical information^LN"),
            obx("nodule", "59776-5^Findings^LN"),
            obx("8 mm", "59776-5^Findings^LN"),
            obx("cancer", "IMP"),
            obx("Rundherd", "X^Befund^L"),
            obx("tumor", "36643-5&IMP^CT^LN"),
        )
    )
    assert bodies(report) == [
        ("INDICATION", "cough"),
        ("FINDINGS", "nodule\n8 mm"),
        ("IMPRESSION", "cancer"),
        ("FINDINGS", "Rundherd"),
        ("IMPRESSION", "tumor"),
    ]
    assert "Doe" not in report.text


def test_a_report_of_one_line_an_observation_is_put_together() -> None:
    report = only(message(*(obx(line, "R^Report") for line in ("HISTORY: cough", "FINDINGS:", "no mass"))))
    assert bodies(report) == [("HISTORY", "cough"), ("FINDINGS", "no mass")]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f"),
        (r"one\.br\two\.sp2\three", "one\ntwo\n\nthree"),
        (r"\H\bold\N\ plain", "bold plain"),
        (r"x\X0D0A\y \XC3A9\ ", "x\ny é"),
        (r"kept \Zab\ and \Q\ and 5\6", r"kept \Zab\ and \Q\ and 5\6"),
        ("line~line", "line\nline"),
        ("a^b&c", "a^b&c"),
    ],
)
def test_escapes(written: str, read: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert only(message(obx(written, kind="FT"))).body(only(message(obx(written))).sections[0]) == read.strip()
    assert not caplog.records


def test_kinds_of_values() -> None:
    encoded = base64.b64encode("FINDINGS: Größe".encode()).decode()
    report = only(
        message(
            obx(f"RIS^TEXT^PLAIN^Base64^{encoded}", kind="ED"),
            obx("app^APPLICATION^PDF^Base64^JVBERi0=", kind="ED"),
            obx("R1^Nodule present^L", "Q^Result^L", kind="CE"),
            obx("8", "D^Diameter", kind="NM", units="mm"),
            obx("withdrawn", status="D"),
            obx("wrong", status="W"),
            "NTE|1||a comment",
        )
    )
    assert "Größe" in report.text
    assert "Result: Nodule present" in report.text
    assert "Diameter: 8 mm" in report.text
    assert "a comment" in report.text
    assert "JVBER" not in report.text
    assert "withdrawn" not in report.text
    assert "wrong" not in report.text


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("", "utf-8"), ("UNICODE UTF-8", "utf-8"), ("8859/1", "latin-1"), ("8859/15", "iso8859_15"), ("", "cp1252")],
)
def test_character_sets(charset: str, codec: str) -> None:
    assert "Größe é" in only(message(obx("Größe é"), charset=charset).encode(codec)).text


def test_chinese_character_set() -> None:
    report = only(message(obx("检查所见：双肺结节"), charset="GB 18030-2000").encode("gb18030"))
    assert bodies(report) == [("FINDINGS", "双肺结节")]


@pytest.mark.parametrize("break_", ["\r", "\n", "\r\n"])
def test_frames_and_line_breaks(break_: str) -> None:
    text = "\x0b" + message(obx("FINDINGS: mass")).replace("\r", break_) + "\x1c\r"
    assert bodies(only(text)) == [("FINDINGS", "mass")]


def test_a_raw_line_break_in_a_text_loses_nothing() -> None:
    assert bodies(only(message(obx("FINDINGS: mass\nand more"))))[0][1].startswith("mass\nand more")


def test_a_batch_holds_reports_by_order_number(tmp_path: Path) -> None:
    path = tmp_path / "batch.hl7"
    texts = [message(f"OBR|1||F{n}", obx(f"mass {n}"), control=f"M{n}") for n in (1, 2)]
    path.write_text("FHS|^~\\&|X\rBHS|^~\\&|X\r" + "".join(texts) + "BTS|2\rFTS|1\r", newline="")
    assert [(key, report.text.strip()) for key, report in read_reports(path)] == [("F1", "mass 1"), ("F2", "mass 2")]
    assert read_report(path).text == "mass 1\nmass 2\n"
    assert is_report_file(path, path.read_bytes()[:132])


def test_family_history_keeps_its_name() -> None:
    report = only(message(obx("dementia", "F^Family history")))
    assert bodies(report) == [("HISTORY", "Family history: dementia")]


def test_what_holds_no_text() -> None:
    for segments in ((), (obx(""),), (obx("x", status="D"),)):
        with pytest.raises(UnreadableReportError) as caught:
            only(message(*segments))
        assert caught.value.reason == "EMPTY_REPORT"


def test_what_is_hl7() -> None:
    assert is_hl7(b"\xef\xbb\xbfMSH|^~\\&|")
    assert is_hl7(b"\x0bMSH|")
    assert not is_hl7(b"MSHA is a name")
    assert not is_hl7(b"FINDINGS: MSH|")
