"""`medfuse deidentify` from end to end."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from medfuse.cli.main import application
from tests.unit.ingest.made_dicom import ramp, save, slices


def run(*arguments: object) -> Result:
    return CliRunner().invoke(application("deidentify"), ["deidentify", *map(str, arguments)])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for k, dataset in enumerate(slices(ramp(), SeriesDescription="T1 axial")):
        save(dataset, folder / f"{k}")
    (folder / "report.txt").write_text("Mr. Planted, seen on 2019-03-02. FINDINGS: none.")
    return folder


def test_help_names_the_options() -> None:
    told = run("--help").output
    for option in ("--key-file", "--new-key", "--retain-dates", "--keep-burned-in", "--held-back-list"):
        assert option in told


def test_a_run_with_a_new_key_and_a_second_one(tmp_path: Path, source: Path) -> None:
    key = tmp_path / "key"
    first = run(source, tmp_path / "out", "--key-file", key, "--new-key", "--clean-descriptors")
    assert first.exit_code == 0, first.output
    assert "1 studies of 1 patients written: 3 DICOM files, 1 reports; 0 files held back" in first.output
    assert "replaced in reports: 1 DATE, 1 NAME" in first.output
    assert "No rule finds every identity" in first.output
    (report,) = (tmp_path / "out").rglob("*.txt")
    assert report.read_text() == "Mr. [NAME], seen on [DATE]. FINDINGS: none."
    record = json.loads((tmp_path / "out" / "deidentification.json").read_text())
    assert record["complete"] is True
    assert record["profile"][0] == "Basic Application Confidentiality Profile"
    assert {"attribute": "PatientName", "tag": "(0010,0010)", "action": "Z", "count": 3} in record["attributes"]
    second = run(source, tmp_path / "out", "--key-file", key, "--clean-descriptors")
    assert second.exit_code == 0
    assert "written, 1 of them by an earlier run" in second.output


def test_without_a_key_file_the_key_is_forgotten(tmp_path: Path, source: Path) -> None:
    first = run(source, tmp_path / "out")
    assert first.exit_code == 0
    assert "The key of this run is gone" in first.output
    second = run(source, tmp_path / "out")
    assert second.exit_code == 2
    assert "another key" in second.output


def test_what_is_held_back_makes_exit_code_1_and_a_list(tmp_path: Path, source: Path) -> None:
    (source / "scan.pdf").write_bytes(b"%PDF")
    result = run(source, tmp_path / "out", "--held-back-list", tmp_path / "held.csv")
    assert result.exit_code == 1
    assert "held back: OTHER_FILE: 1 file" in result.output
    with (tmp_path / "held.csv").open() as file:
        assert list(csv.reader(file)) == [["reason", "path"], ["OTHER_FILE", str(source / "scan.pdf")]]
    assert (tmp_path / "held.csv").stat().st_mode & 0o777 == 0o600


def test_kept_captures_are_told(tmp_path: Path, source: Path) -> None:
    for k, dataset in enumerate(slices(ramp(), BurnedInAnnotation="YES")):
        save(dataset, source / f"{k}")
    result = run(source, tmp_path / "out", "--keep-burned-in")
    assert result.exit_code == 0
    assert "WARNING: kept although the pixels may show text: BURNED_IN_ANNOTATION: 3 files" in result.output


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--new-key"], "--key-file"),
        (["--key-file", "OUT/key", "--new-key"], "lies in"),
        (["--held-back-list", "OUT/list.csv"], "lies in"),
        (["--held-back-list", "none/list.csv"], "folder does not exist"),
        (["--key-file", "none"], "make one with --new-key"),
    ],
)
def test_wrong_use(tmp_path: Path, source: Path, arguments: list[str], match: str) -> None:
    output = tmp_path / "out"
    given = [argument.replace("OUT", str(output)) if "OUT" in argument else argument for argument in arguments]
    given = [str(tmp_path / word) if word.startswith("none") else word for word in given]
    result = run(source, output, *given)
    assert result.exit_code == 2
    assert match in " ".join(result.output.split())
    assert not output.exists()
