"""Reports in FHIR: where a DiagnosticReport says what, as text and never as markup."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from medfuse.domain import Report
from medfuse.domain.report import SAFE_SECTIONS
from medfuse.errors import UnreadableReportError
from medfuse.ingest.reports.fhir import read_fhir, text_of_html
from medfuse.ingest.reports.reading import is_report_file, read_report, read_reports


def resource(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "DiagnosticReport", "status": "final", **elements}


def form(text: str, kind: str = "text/plain", codec: str = "utf-8") -> dict[str, str]:
    return {"contentType": kind, "data": base64.b64encode(text.encode(codec)).decode()}


def only(value: object) -> Report:
    ((_, report),) = read_fhir(value, "r.json")
    return report


def bodies(report: Report) -> list[tuple[str, str]]:
    return [(section.name.value, report.body(section)) for section in report.sections]


def test_text_and_conclusion() -> None:
    report = only(resource(presentedForm=[form("HISTORY: cough\nFINDINGS: nodule")], conclusion="Nodule."))
    assert bodies(report) == [("HISTORY", "cough"), ("FINDINGS", "nodule"), ("IMPRESSION", "Nodule.")]


def test_observations_contained_and_in_a_bundle() -> None:
    history = {
        "resourceType": "Observation",
        "id": "h",
        "code": {"coding": [{"code": "11329-0"}]},
        "valueString": "cough",
    }
    finding = {
        "resourceType": "Observation",
        "id": "f",
        "code": {"text": "Size"},
        "valueQuantity": {"value": 8, "unit": "mm"},
    }
    named = {
        "resourceType": "Observation",
        "code": {"text": "Anything"},
        "valueCodeableConcept": {"coding": [{"display": "Nodule"}]},
        "note": [{"text": "a note"}],
        "component": [{"code": {"text": "Side"}, "valueString": "left"}],
    }
    one = resource(result=[{"reference": "Observation/h"}, {"reference": "#f"}], contained=[finding, named])
    bundle = {"resourceType": "Bundle", "entry": [{"resource": one}, {"resource": history}]}
    report = only(bundle)
    assert bodies(report) == [
        ("HISTORY", "cough"),
        ("FINDINGS", "Size: 8 mm\nAnything: Nodule\nleft\na note"),
    ]
    assert report.select(SAFE_SECTIONS) == "cough"


def test_markup_is_text() -> None:
    markup = "<div><script>alert(1)</script><p>FINDINGS: 2 &lt; 3</p><b onclick='x'>nodule</b><br/>end</div>"
    assert text_of_html(markup) == "FINDINGS: 2 < 3\nnodule\nend"
    report = only(resource(presentedForm=[form(markup, "text/html; charset=utf-8")]))
    assert bodies(report) == [("FINDINGS", "2 < 3\nnodule\nend")]


def test_the_narrative_counts_where_it_says_more() -> None:
    narrative = {"status": "additional", "div": "<div><p>IMPRESSION: tumor</p></div>"}
    assert bodies(only(resource(text=narrative))) == [("IMPRESSION", "tumor")]
    told = {"status": "generated", "div": "<div>Nodule.</div>"}
    assert bodies(only(resource(text=told, conclusion="Nodule."))) == [("IMPRESSION", "Nodule.")]


def test_other_documents_and_broken_data_are_left_out() -> None:
    forms = [form("%PDF", "application/pdf"), {"contentType": "text/plain", "data": "***"}, 7]
    assert bodies(only(resource(presentedForm=forms, conclusion="x"))) == [("IMPRESSION", "x")]


def test_a_charset_is_taken() -> None:
    assert "Größe" in only(resource(presentedForm=[form("Größe", "text/plain;charset=latin-1", "latin-1")])).text


def test_what_strays_from_the_standard_is_read() -> None:
    value = {"resourceType": "DiagnosticReport", "conclusion": "x", "foo": 1, "effectiveDateTime": "2024-01-01 10:00"}
    assert only(value).text == "IMPRESSION:\nx\n"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"resourceType": "Patient"}, "NOT_A_REPORT"),
        (resource(status="entered-in-error", conclusion="x"), "NOT_A_REPORT"),
        (resource(), "EMPTY_REPORT"),
        (resource(presentedForm="x", result=[{}, 3], contained=[None], text="x", conclusion=None), "EMPTY_REPORT"),
        ({"resourceType": "Bundle", "entry": [{"resource": None}, 3]}, "NOT_A_REPORT"),
    ],
)
def test_what_is_refused(value: object, reason: str) -> None:
    with pytest.raises(UnreadableReportError) as caught:
        read_fhir(value, "r.json")
    assert caught.value.reason == reason


def test_observations_that_name_each_other_end() -> None:
    one = {"resourceType": "Observation", "id": "a", "valueString": "x", "hasMember": [{"reference": "#a"}]}
    assert only(resource(contained=[one])).text.count("x") == 1


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    identified = resource(identifier=[{"value": "A1"}], conclusion="x")
    path.write_text(json.dumps({"resourceType": "Bundle", "entry": [{"resource": identified}]}))
    assert [key for key, _ in read_reports(path)] == ["A1"]
    assert read_report(path).text == "IMPRESSION:\nx\n"
    assert is_report_file(path, b"{")
    path.write_text('{"name": "dataset"}')
    assert not is_report_file(path, b"{")
    path.write_text('{"resourceType": "DiagnosticReport", "a":' + "[" * 100_000)
    with pytest.raises(UnreadableReportError):
        read_report(path)
