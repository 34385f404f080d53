"""Label files: keys, values, which columns are findings, and what is refused without naming a patient."""

import logging
from pathlib import Path

import pytest

from medfuse.domain import LabelValue, Provenance, Rejected, Study, pseudonym
from medfuse.errors import ManifestError
from medfuse.ingest.labels import join_labels, join_targets, read_labels, write_labels

PRESENT, ABSENT, UNCERTAIN, NOT_ASSESSED = LabelValue


def study(uid: str, accession: str = "", patient: str = "") -> Study:
    return Study(
        study_instance_uid=uid, patient_key=pseudonym(patient or uid), accession_number=accession, path=Path("data")
    )


def label_file(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_values_in_every_spelling(tmp_path: Path) -> None:
    path = label_file(
        tmp_path,
        "study_instance_uid,a,b,c,d\n1.1,1,0,-1,\n1.2,1.0,0.0,u,PRESENT\n1.3,PRESENT,absent,Uncertain,NOT_ASSESSED\n",
    )
    labels = read_labels(path)
    assert labels.findings == ("a", "b", "c", "d")
    assert [list(row.values()) for row in labels.values.values()] == [
        [PRESENT, ABSENT, UNCERTAIN, NOT_ASSESSED],
        [PRESENT, ABSENT, UNCERTAIN, PRESENT],
        [PRESENT, ABSENT, UNCERTAIN, NOT_ASSESSED],
    ]


def test_columns_without_labels_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = label_file(tmp_path, "study_instance_uid,patient_id,volume_mm3,mass,note\n1.1,P1,2948,1,\n1.2,P2,1,0,\n")
    with caplog.at_level(logging.INFO, logger="medfuse"):
        labels = read_labels(path)
    assert labels.findings == ("mass",)
    assert set(labels.left_out) == {"volume_mm3", "note"}
    assert "volume_mm3, note" in caplog.text
    assert "P1" not in caplog.text


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-8")])
def test_spreadsheets_write_other_separators(tmp_path: Path, delimiter: str, encoding: str) -> None:
    text = "\r\n".join(delimiter.join(row) for row in (["accession", " mass "], ["A1", " 1 "], ["", ""]))
    labels = read_labels(label_file(tmp_path, text, encoding))
    assert labels.key == "accession_number"
    assert labels.values == {"A1": {"mass": PRESENT}}


def test_join_by_each_key(tmp_path: Path) -> None:
    studies = [study("1.1", "A1", "P1"), study("1.2", "A2", "P1"), study("1.3", "A3", "P3")]
    by_uid = read_labels(label_file(tmp_path, "accession,study_instance_uid,m\nzz,1.2,1\nzz2,1.1,0\n"))
    assert join_labels(studies, by_uid) == {"1.1": {"m": ABSENT}, "1.2": {"m": PRESENT}, "1.3": {"m": NOT_ASSESSED}}
    by_accession = read_labels(label_file(tmp_path, "accession_number,m\nA3,1\n"))
    assert join_labels(studies, by_accession)["1.3"] == {"m": PRESENT}
    by_patient = read_labels(label_file(tmp_path, "patient_id,m\n P1 ,1\n"))
    assert "P1" not in repr(by_patient)
    assert [row["m"] for row in join_labels(studies, by_patient).values()] == [PRESENT, PRESENT, NOT_ASSESSED]


def test_findings_can_be_chosen_in_order(tmp_path: Path) -> None:
    labels = read_labels(label_file(tmp_path, "accession,a,b,age\nA1,1,0,70\n"))
    joined = join_labels([study("1.1", "A1")], labels, ["b", "a", "b"])
    assert list(joined["1.1"].items()) == [("b", ABSENT), ("a", PRESENT)]
    with pytest.raises(ManifestError, match="column c holds no labels: no such column, found a, b"):
        join_labels([study("1.1", "A1")], labels, ["c"])
    with pytest.raises(ManifestError, match="column age holds no labels: line 2"):
        join_labels([study("1.1", "A1")], labels, ["age"])


def test_unknown_studies_are_counted_and_three_are_named(tmp_path: Path) -> None:
    rows = "\n".join(f"9.{n},1" for n in range(5))
    labels = read_labels(label_file(tmp_path, f"study_instance_uid,m\n1.1,1\n{rows}\n"))
    with pytest.raises(ManifestError, match=r"names 5 of 6 studies .*: 9\.0, 9\.1, 9\.2 and 2 more;"):
        join_labels([study("1.1")], labels)


@pytest.mark.parametrize("key", ["accession_number", "patient_id"])
def test_unknown_accessions_and_patients_are_told_by_line_alone(tmp_path: Path, key: str) -> None:
    labels = read_labels(label_file(tmp_path, f"{key},m\nSECRET,1\n"))
    with pytest.raises(ManifestError, match="line 2") as caught:
        join_labels([study("1.1", "A1")], labels)
    assert "SECRET" not in str(caught.value)
    assert pseudonym("SECRET") not in str(caught.value)


def test_labels_of_a_rejected_study_are_no_error(tmp_path: Path) -> None:
    rejected = [Rejected(study_instance_uid="1.2", accession_number="A2", reason="MIXED_PATIENTS", detail="two")]
    for text in ("study_instance_uid,m\n1.2,1\n", "accession,m\nA2,1\n", "patient_id,m\nP9,1\n"):
        joined = join_labels([study("1.1", "A1")], read_labels(label_file(tmp_path, text)), rejected=rejected)
        assert joined == {"1.1": {"m": NOT_ASSESSED}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 must name every column"),
        ("study_instance_uid,m\n", "holds no rows"),
        ("uid,m\n1.1,1\n", "no key column; found uid, m, expected one of study_instance_uid"),
        ("study_instance_uid,m,m\n1.1,1,1\n", r"blank or repeated: \['m'\]"),
        ("study_instance_uid,,m\n1.1,1,1\n", "blank or repeated"),
        ("study_instance_uid,m\n1.1,1,1\n", "line 2 has 3 values, expected 2"),
        ("study_instance_uid,m\n1.1,1\n,1\n", "line 3 has no study_instance_uid"),
        ("study_instance_uid,m\n1.1,1\n1.2,0\n1.1,0\n", "line 4 repeats the study_instance_uid of line 2"),
        ("study_instance_uid,age\n1.1,70\n", "no column holds labels"),
        ('study_instance_uid,m\n1.1,"1\n', "line 2 is no CSV"),
        ("study_instance_uid,m\n1.1,1é\n".encode("cp1252").decode("latin-1"), "no column holds labels"),
    ],
)
def test_broken_files_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_labels(label_file(tmp_path, text))


def test_other_encodings_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="not UTF-8 at byte 22"):
        read_labels(label_file(tmp_path, "study_instance_uid,m\n\né,1", "cp1252"))
    with pytest.raises(ManifestError, match="No such file"):
        read_labels(tmp_path / "none.csv")
    with pytest.raises(ManifestError):
        read_labels(tmp_path)


@pytest.mark.realdata
def test_the_hippocampus_labels(shared_data: Path) -> None:
    labels = read_labels(shared_data / "hippocampus" / "labels.csv")
    assert labels.key == "study_instance_uid"
    assert labels.findings == ("memory_impairment", "hippocampal_atrophy_for_age", "anterior_predominant_loss")
    assert list(labels.left_out) == ["volume_mm3"]
    assert len(labels.values) == 200


def test_what_is_written_is_read_again_with_its_provenance(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    values = {"A1": {"mass": PRESENT, "-x": ABSENT}, "=1+1": {"mass": UNCERTAIN, "-x": NOT_ASSESSED}}
    write_labels(path, "accession_number", values, Provenance.REPORT_DERIVED)
    labels = read_labels(path)
    assert labels.values == values
    assert labels.findings == ("mass", "-x")
    assert set(labels.provenance.values()) == {Provenance.REPORT_DERIVED}
    assert "\n'=1+1," in path.read_text()


def test_provenance_is_the_readers_unless_told_and_no_finding(tmp_path: Path) -> None:
    text = "accession,mass,provenance\nA1,1,\nA2,0,pathology\n"
    labels = read_labels(label_file(tmp_path, text))
    assert labels.provenance == {"A1": Provenance.READER, "A2": Provenance.PATHOLOGY}
    assert labels.findings == ("mass",)
    assert read_labels(label_file(tmp_path, "accession,mass\nA1,1\n")).provenance == {"A1": Provenance.READER}
    with pytest.raises(ManifestError, match="line 2, column provenance"):
        read_labels(label_file(tmp_path, "accession,mass,provenance\nA1,1,hearsay\n"))


def test_labels_without_rows_or_key_are_not_written(tmp_path: Path) -> None:
    for key, values in (("accession", {}), ("name", {"A1": {"mass": PRESENT}})):
        with pytest.raises(ValueError, match="label file"):
            write_labels(tmp_path / "l.csv", key, values)


def test_columns_of_targets_hold_anything_and_their_blanks_are_unknown(tmp_path: Path) -> None:
    text = "patient_id,target_stage,mass,target_age,target_empty\nP1,II b,1,61\u00a0,\nP2,,0,'-3,\n"
    labels = read_labels(label_file(tmp_path, text))
    assert labels.findings == ("mass",)
    assert set(labels.left_out) == {"target_empty"}
    studies = [study("1.1", patient="P1"), study("1.2", patient="P2"), study("1.3", patient="P3")]
    assert join_targets(studies, labels) == {"1.1": {"stage": "II b", "age": "61"}, "1.2": {"age": "-3"}, "1.3": {}}


def test_a_file_of_targets_alone_is_a_label_file(tmp_path: Path) -> None:
    labels = read_labels(label_file(tmp_path, "accession,target_grade\nA1,1\n"))
    assert labels.findings == ()
    studies = [study("1.1", "A1")]
    assert join_labels(studies, labels) == {"1.1": {}}
    assert join_targets(studies, labels) == {"1.1": {"grade": "1"}}
    with pytest.raises(ManifestError, match="names 1 of 1 studies that the folder does not hold"):
        join_labels([study("1.2", "A2")], labels)


def test_a_target_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="the column target_ names no target"):
        read_labels(label_file(tmp_path, "accession,mass,target_\nA1,1,2\n"))
