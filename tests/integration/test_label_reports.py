"""`medfuse label-reports` from the command line: folders, tables and manifests to a label file that `index` takes."""

import csv
import json
from pathlib import Path

import pytest

from medfuse.cli.main import main
from medfuse.domain import Provenance
from medfuse.ingest.labels import read_labels
from medfuse.ingest.reports.labels import EVIDENCE_COLUMNS
from medfuse.phantom.write import write_phantom

LEXICON = "configs/labels/chest_ct.yaml"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "chest"
    write_phantom("chest_ct", folder, studies=6, seed=4)
    return folder


def test_from_made_studies_to_a_manifest(phantom: Path, tmp_path: Path) -> None:
    labels, evidence, manifest = tmp_path / "labels.csv", tmp_path / "evidence.csv", tmp_path / "manifest.csv"
    assert run("label-reports", phantom, "-f", LEXICON, "-o", labels, "--evidence", evidence, "--quiet") == 0
    truth = {one["study_instance_uid"]: one for one in json.loads((phantom / "truth.json").read_text())["studies"]}
    derived = rows(labels)
    assert {row["study_instance_uid"] for row in derived} == set(truth)
    assert {row["provenance"] for row in derived} == {"REPORT_DERIVED"}
    for row in derived:
        study = truth[row["study_instance_uid"]]
        for finding, value in study["labels"].items():
            told = study["has_report"] and (finding == "smoking_history" or study["report_states_answer"])
            assert row[finding] == ({1: "PRESENT", 0: "ABSENT"}[value] if told else "NOT_ASSESSED")
    assert set(read_labels(labels).provenance.values()) == {Provenance.REPORT_DERIVED}
    assert run("index", phantom, "-o", manifest, "--labels", labels, "--quiet") == 0
    assert {row["label_nodule"] for row in rows(manifest)} <= {"PRESENT", "ABSENT", "NOT_ASSESSED"}
    again = tmp_path / "again.csv"
    assert run("label-reports", manifest, "-f", LEXICON, "-o", again, "--quiet") == 0
    assert sorted(again.read_text().splitlines()) == sorted(labels.read_text().splitlines())


def test_evidence_has_offsets_and_no_text_of_the_report(tmp_path: Path) -> None:
    table = tmp_path / "reports.csv"
    text = "FINDINGS: Hobbyhorse. No pulmonary nodule."
    table.write_text(f'accession_number,report\nA1,"{text}"\n=1+1,"{text}"\n')
    evidence, told = tmp_path / "evidence.csv", tmp_path / "told.csv"
    command = ("label-reports", table, "-f", LEXICON, "-o", tmp_path / "l.csv", "--quiet", "--evidence")
    assert run(*command, evidence) == 0
    first, second = rows(evidence)
    assert text[int(first["start"]) : int(first["end"])] == "nodule"
    assert (first["finding"], first["section"], first["value"], first["cues"]) == ("nodule", "FINDINGS", "ABSENT", "no")
    assert second["accession_number"] == "'=1+1"
    assert tuple(first) == ("accession_number", *EVIDENCE_COLUMNS)
    assert "Hobbyhorse" not in evidence.read_text()
    assert run(*command, told, "--evidence-text") == 0
    assert "Hobbyhorse" in told.read_text()
    assert set(read_labels(tmp_path / "l.csv").values) == {"A1", "=1+1"}


def test_a_table_with_named_columns(tmp_path: Path) -> None:
    table, output = tmp_path / "t.tsv", tmp_path / "l.csv"
    table.write_text("nr\tUID\tB\n1\t1.2.3\tKein Rundherd\n")
    options = ("--id", "UID", "--section", "B=FINDINGS", "--key", "study_instance_uid", "--language", "de")
    assert run("label-reports", table, "-f", LEXICON, "-o", output, *options, "--quiet") == 0
    assert rows(output)[0]["study_instance_uid"] == "1.2.3"
    assert rows(output)[0]["nodule"] == "ABSENT"


def test_a_folder_of_reports_of_every_kind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, output = tmp_path / "in", tmp_path / "l.csv"
    folder.mkdir()
    (folder / "a.txt").write_text("FINDINGS: nodule")
    (folder / "b.hl7").write_text(
        "MSH|^~\\&|A|B|C|D|2024||ORU^R01|1|P|2.5\rOBR|1||F7\rOBX|1|TX|GDT||no nodule||||||F\r"
    )
    (folder / "c.json").write_text('{"resourceType": "DiagnosticReport", "id": "d", "conclusion": "possible nodule"}')
    (folder / "settings.json").write_text("{}")
    (folder / "bad.txt").write_bytes(b"\x00\x01secret")
    assert run("label-reports", folder, "-f", LEXICON, "-o", output) == 1
    assert {row["accession_number"]: row["nodule"] for row in rows(output)} == {
        "a": "PRESENT",
        "F7": "ABSENT",
        "d": "UNCERTAIN",
    }
    printed = "".join(capfd.readouterr())
    assert "NOT_TEXT: bad.txt" in printed
    assert "secret" not in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--output", "no/such/folder.csv"), "its folder does not exist"),
        (("--language", "xx"), "expected one of en, de, fr, es, zh"),
        (("--key", "name"), "expected one of study_instance_uid"),
        (("--section", "B"), "expected COLUMN=SECTION"),
        (("--id", "nope"), "no column for nope"),
        (("--findings", "nope.yaml"), "nope.yaml"),
    ],
)
def test_bad_use_is_one_line(
    options: tuple[str, str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table, output = tmp_path / "t.csv", tmp_path / "l.csv"
    table.write_text("id,report\n1,FINDINGS: nodule\n")
    given = {"--findings": LEXICON, "--output": str(output), **dict([options])}
    assert run("label-reports", table, *(word for pair in given.items() for word in pair)) == 2
    error = capfd.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not output.exists()


def test_nothing_is_written_over_what_is_read(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,report\n1,FINDINGS: nodule\n")
    assert run("label-reports", table, "-f", LEXICON, "-o", table) == 2
    assert run("label-reports", tmp_path / "none", "-f", LEXICON, "-o", tmp_path / "l.csv") == 2
    assert run("label-reports", table, "-f", LEXICON, "-o", tmp_path / "l.csv", "--evidence", tmp_path / "l.csv") == 2
    assert table.read_text().startswith("id,report")


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert run("label-reports", tmp_path / "in", "-f", LEXICON, "-o", tmp_path / "l.csv") == 2
