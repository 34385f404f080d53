"""Tables of reports: which columns hold what, what counts as missing, and what is refused without quoting a report."""

import json
from pathlib import Path

import pytest

from medfuse.domain import Report, SectionName
from medfuse.errors import UnreadableReportError
from medfuse.ingest.reports.reading import ReportColumns, read_report, read_reports

CT_RATE = (
    "VolumeName,ClinicalInformation_EN,Technique_EN,Findings_EN,Impressions_EN\n"
    'train_1_a_1.nii.gz,Not given.,CT,"Nodule, 8 mm.\n""Large"" heart.",Nodule\n'
    "train_2_a_1.nii.gz,Not given.,Not given.,Not given.,Not given.\n"
)


def write(tmp_path: Path, text: str, name: str = "reports.csv", encoding: str = "utf-8") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def bodies(report: Report) -> list[tuple[str, str]]:
    return [(section.name.value, report.body(section)) for section in report.sections]


def test_ct_rate(tmp_path: Path) -> None:
    ((key, report),) = read_reports(write(tmp_path, CT_RATE))
    assert key == "train_1_a_1.nii.gz"
    assert bodies(report) == [
        ("TECHNIQUE", "CT"),
        ("FINDINGS", 'Nodule, 8 mm.\n"Large" heart.'),
        ("IMPRESSION", "Nodule"),
    ]


@pytest.mark.parametrize(("separator", "encoding"), [(",", "utf-8-sig"), (";", "cp1252"), ("\t", "utf-16")])
def test_separators_and_encodings(tmp_path: Path, separator: str, encoding: str) -> None:
    path = write(tmp_path, f"accession{separator}Befund\nA1{separator}Größe\n", encoding=encoding)
    ((key, report),) = read_reports(path)
    assert (key, bodies(report)) == ("A1", [("FINDINGS", "Größe")])


def test_a_column_with_the_whole_report_is_sectioned(tmp_path: Path) -> None:
    path = write(tmp_path, 'study_id,report\n7,"HISTORY: cough\nFINDINGS: nodule"\n')
    ((key, report),) = read_reports(path)
    assert (key, bodies(report)) == ("7", [("HISTORY", "cough"), ("FINDINGS", "nodule")])


def test_columns_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "nr,a,b\n1,cough,nodule\n")
    columns = ReportColumns(id="nr", sections={"b": SectionName.FINDINGS, "a": SectionName.HISTORY})
    ((_, report),) = read_reports(path, columns=columns)
    assert bodies(report) == [("FINDINGS", "nodule"), ("HISTORY", "cough")]
    ((_, whole),) = read_reports(path, columns=ReportColumns(id="nr", text="b"))
    assert whole.text == "nodule"


@pytest.mark.parametrize("name", ["r.jsonl", "r.json", "list.json", "keyed.json"])
def test_json(tmp_path: Path, name: str) -> None:
    record = {"Findings": "nodule", "History": None, "Impression": ["a", "b"]}
    value = {
        "r.jsonl": json.dumps({"id": 7, **record}) + "\n\n",
        "r.json": json.dumps({"id": 7, **record}),
        "list.json": json.dumps([{"id": 7, **record}]),
        "keyed.json": json.dumps({"7": record}),
    }[name]
    ((key, report),) = read_reports(write(tmp_path, value, name))
    assert (key, bodies(report)) == ("7", [("FINDINGS", "nodule"), ("IMPRESSION", "a\nb")])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("r.csv", "", "no column"),
        ("r.csv", "a,b\n1,secret\n", "no column for whose report it is; found a, b"),
        ("r.csv", "id,b\n1,secret\n", "no column for the report's text"),
        ("r.csv", "id,text\n1,secret\n1,secret\n", "line 3 repeats the id of line 2"),
        ("r.csv", "id,text\n,secret\n", "line 2 has no id"),
        ("r.csv", "id,text\n1,secret,3\n", "line 2 has 3 values, expected 2"),
        ("r.csv", 'id,text\n1,"secret"x\n', "line 2 is no CSV"),
        ("r.csv", "id,text\n1,n/a\n", "no row holds text"),
        ("r.jsonl", '{"id": 1, "text": "secret"}\n{secret\n', "line 2 is no JSON"),
        ("r.jsonl", '["secret"]\n', "line 1 is no JSON object"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(UnreadableReportError) as caught:
        read_reports(write(tmp_path, text, name))
    assert said in caught.value.detail
    assert "secret" not in caught.value.detail
    assert str(tmp_path) not in caught.value.detail


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableReportError, match="no column for foo"):
        read_reports(write(tmp_path, CT_RATE), columns=ReportColumns(text="foo"))


def test_a_table_is_no_report_of_one_study(tmp_path: Path) -> None:
    for path in (write(tmp_path, CT_RATE), write(tmp_path, "[]", "x.json")):
        with pytest.raises(UnreadableReportError) as caught:
            read_report(path)
        assert caught.value.reason == "SEVERAL_REPORTS"


def test_a_text_that_begins_like_json_is_text(tmp_path: Path) -> None:
    assert bodies(read_report(write(tmp_path, "[FINDINGS]\nmass", "r.txt"))) == [("FINDINGS", "mass")]
