"""Tables of data sets: what is read, what is missing, what is refused; reports made of columns."""

from pathlib import Path

import pytest

from medfuse.domain import LabelValue, SectionName
from medfuse.errors import ManifestError, UsageError
from medfuse.ingest.importers.files import read_json, visible
from medfuse.ingest.importers.segment_names import segment_names
from medfuse.ingest.importers.tables import agreed, given, label_columns, labels_of, read_rows, report_of


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_rows_with_their_lines(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f'\ufeffa{delimiter} b \n1{delimiter}" x\ny "\n\n2{delimiter}z\n', encoding="utf-8")
    assert list(read_rows(path)) == [(3, {"a": "1", "b": "x\ny"}), (5, {"a": "2", "b": "z"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1\n", "line 2 has 1 values, expected 2"),
        (b"x,b\n1,2\n", "lacks the column a; found x, b"),
        (b"", "lacks the column a"),
        (b"a,b\n\xff,1\n", "not UTF-8"),
        (b"a,b\n" + b"x" * 200_000 + b",1\n", "no CSV"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        list(read_rows(path, required=("a",)))
    with pytest.raises(ManifestError, match="No such file"):
        list(read_rows(tmp_path / "gone.csv"))


def test_what_is_given() -> None:
    row = {"a": "Not given.", "b": "n/a", "c": " x ", "d": "y"}
    assert given(row, "z", "a", "b", "c", "d") == "x"
    assert given(row, "a", "b") == ""


def test_columns_of_labels() -> None:
    rows = [{"id": "1", "x": "1", "y": "2", "z": "", "w": "n/a"}, {"id": "0", "x": "", "y": "0", "z": "", "w": "0"}]
    assert label_columns(rows, ("id",)) == ("x", "w")
    assert label_columns([], ()) == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("PPP", LabelValue.PRESENT), ("PNP", LabelValue.PRESENT), ("PA", LabelValue.UNCERTAIN),
        ("N", LabelValue.NOT_ASSESSED), ("", LabelValue.NOT_ASSESSED), ("UA", LabelValue.UNCERTAIN),
    ],
)  # fmt: skip
def test_values_that_agree(values: str, expected: LabelValue) -> None:
    assert agreed([next(value for value in LabelValue if value[0] == letter) for letter in values]) is expected


def test_no_labels_are_none(tmp_path: Path) -> None:
    assert labels_of(tmp_path, {}) is None
    assert labels_of(tmp_path, {"1.2": {}}) is None


def test_words_of_a_column_open_no_section() -> None:
    report = report_of(
        [
            (SectionName.INDICATION, "IMPRESSION: cancer\n\nFINDINGS:\nmass"),
            (SectionName.TECHNIQUE, " Not given. "),
            (SectionName.FINDINGS, "clear"),
        ]
    )
    assert report is not None
    assert report.select((SectionName.INDICATION,)) == "IMPRESSION: cancer\n\nFINDINGS:\nmass"
    assert report.select((SectionName.FINDINGS,)) == "clear"
    assert [section.name for section in report.sections] == [SectionName.INDICATION, SectionName.FINDINGS]
    assert report_of([(SectionName.FINDINGS, "nan"), (SectionName.IMPRESSION, "")]) is None


def test_junk_is_counted_and_left_out(tmp_path: Path) -> None:
    from collections import Counter

    for name in ("b", "a", "._a", ".DS_Store"):
        (tmp_path / name).touch()
    (tmp_path / "__MACOSX").mkdir()
    skipped: Counter[str] = Counter()
    assert [path.name for path in visible(tmp_path, skipped)] == ["a", "b"]
    assert skipped == {"HIDDEN_FILE": 2}
    assert visible(tmp_path / "gone") == []


def test_a_description_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "x.json") == {"a": 1}
    monkeypatch.setattr("medfuse.ingest.importers.files.MOST_JSON_BYTES", 4)
    with pytest.raises(UsageError, match="larger than 4 bytes"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ('{"labels": {"0": "background", "1": "Anterior", "300": "x"}}', {1: "Anterior"}),
        ('{"labels": {"background": 0, "b": 2, "r": [1, 2]}}', {2: "b"}),
        ('{"labels": []}', {}),
        ('{"labels": {}}', {}),
        ("[]", {}),
        ("{", {}),
    ],
)
def test_names_in_a_description(tmp_path: Path, labels: str, expected: dict[int, str]) -> None:
    (tmp_path / "dataset.json").write_text(labels)
    assert segment_names(tmp_path / "labelsTr" / "x.nii.gz") == expected


def test_a_label_map_on_its_own_has_no_names(tmp_path: Path) -> None:
    assert segment_names(tmp_path / "a" / "x.nii.gz") == {}
