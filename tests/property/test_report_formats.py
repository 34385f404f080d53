"""No text of a report is lost, whatever file it comes in: every visible character is in one section or its heading."""

import base64
import csv
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pydicom
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from medfuse.domain import Report
from medfuse.ingest.reports.heading_languages import HEADINGS
from medfuse.ingest.reports.reading import read_report, read_reports

TITLES = sorted({title for by in HEADINGS.values() for titles in by.values() for title in titles})
PLAIN = st.text(
    st.characters(
        categories=["L", "N", "P", "S", "Zs"], exclude_characters="\x85\u2028\u2029\ufeff\x1c\x1d\x1e|^~\\&<>"
    ),
    max_size=30,
)
LINES = st.lists(
    st.one_of(PLAIN, st.sampled_from(TITLES).map(lambda t: f"{t}: mass"), st.sampled_from(TITLES)), min_size=1
)
TEXTS = LINES.map("\n".join).filter(lambda text: len("".join(text.split())) > 3 and "\0" not in text)


def visible(text: str) -> str:
    return "".join(text.split())


def written(suffix: str, data: bytes, read: Callable[[Path], Report]) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"report{suffix}"
        path.write_bytes(data)
        return read(path)


def check(report: Report, text: str) -> None:
    """The sections tile the report, and the source's characters stand in it in their order."""
    assert "".join(report.text[s.start : s.end] for s in report.sections) == report.text
    assert visible(text) in visible(report.text)


def first(path: Path) -> Report:
    return read_reports(path)[0][1]


@given(TEXTS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_text_files(text: str, encoding: str) -> None:
    check(written(".txt", text.encode(encoding), read_report), text)


@given(TEXTS)
def test_csv(text: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["id", "report"], ["1", "x " + text]])
    check(written(".csv", out.getvalue().encode(), first), text)


@given(st.tuples(TEXTS, TEXTS))
def test_csv_with_a_column_a_section(texts: tuple[str, str]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["id", "History", "Findings_EN"], ["1", *(f"x {text}" for text in texts)]])
    report = written(".csv", out.getvalue().encode(), first)
    for text in texts:
        check(report, text)


@given(TEXTS)
def test_json_lines(text: str) -> None:
    check(written(".jsonl", json.dumps({"id": 1, "text": "x " + text}).encode(), first), text)


@given(TEXTS)
def test_hl7(text: str) -> None:
    value = text.replace("\n", r"\.br\ ".strip())
    segments = [r"MSH|^~\&|A|B|C|D|2024||ORU^R01|1|P|2.5", f"OBX|1|FT|R^Report||{value}||||||F"]
    check(written(".hl7", "\r".join(segments).encode(), read_report), text)


@given(st.text(max_size=40))
def test_hl7_escapes_bring_back_every_character(text: str) -> None:
    text = "x" + "".join(c for c in text if c.isprintable())
    escapes = {"\\": r"\E\ ", "|": r"\F\ ", "^": r"\S\ ", "&": r"\T\ ", "~": r"\R\ "}
    value = "".join(escapes.get(c, c).strip() if c in escapes else c for c in text)
    segments = [r"MSH|^~\&|A|B|C|D|2024||ORU^R01|1|P|2.5", f"OBX|1|TX|R^Report||{value}||||||F"]
    check(written(".hl7", "\r".join(segments).encode(), read_report), text)


@given(TEXTS, st.booleans())
def test_fhir(text: str, as_form: bool) -> None:
    form = {"contentType": "text/plain; charset=utf-8", "data": base64.b64encode(text.encode()).decode()}
    said: dict[str, object] = {"presentedForm": [form]} if as_form else {"conclusion": text}
    value = {"resourceType": "DiagnosticReport", **said}
    check(written(".json", json.dumps(value).encode(), read_report), text)


@settings(max_examples=40)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_structured_reports(texts: list[str]) -> None:
    root = Dataset()
    root.ValueType, root.SOPClassUID, root.SOPInstanceUID = "CONTAINER", "1.2.840.10008.5.1.4.1.1.88.11", "1.2.3"
    root.SpecificCharacterSet = "ISO_IR 192"
    root.ContentSequence = [item(text, "59776-5" if n else "121060") for n, text in enumerate(texts)]
    root.file_meta = pydicom.dataset.FileMetaDataset()
    root.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    root.save_as(buffer, enforce_file_format=True)
    report = written("", buffer.getvalue(), read_report)
    for text in texts:
        check(report, text)


def item(text: str, code: str) -> Dataset:
    node, concept = Dataset(), Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = code, "LN", "x"
    node.ConceptNameCodeSequence, node.ValueType, node.RelationshipType = [concept], "TEXT", "CONTAINS"
    node.TextValue = text
    return node
