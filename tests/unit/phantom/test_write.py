import csv
import hashlib
import json
from pathlib import Path

import pydicom
import pytest

from medfuse.errors import StorageError, UsageError
from medfuse.phantom import write_phantom
from medfuse.phantom.plan import FICTION
from tests.unit.phantom.conftest import FamilyName, Made


def _hashes(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("family", ["chest_ct", "brain_mr"])
def test_the_same_seed_gives_the_same_bytes(family: FamilyName, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_phantom(family, tmp_path / name, studies=2, seed=8)
    assert _hashes(tmp_path / "one") == _hashes(tmp_path / "two")


def test_another_seed_gives_other_studies(tmp_path: Path) -> None:
    one = write_phantom("chest_ct", tmp_path / "one", studies=2, seed=1)
    two = write_phantom("chest_ct", tmp_path / "two", studies=2, seed=2)
    assert not {s.study_instance_uid for s in one.studies} & {s.study_instance_uid for s in two.studies}
    assert not set(_hashes(tmp_path / "one").values()) & set(_hashes(tmp_path / "two").values())


def test_tables_state_the_truth(made: Made) -> None:
    assert json.loads((made.root / "truth.json").read_text()) == json.loads(json.dumps(made.truth.as_dict()))
    with (made.root / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["patient_id", "accession", "study_instance_uid", *made.truth.findings]
    for row, study in zip(rows, made.truth.studies, strict=True):
        assert row["patient_id"] == study.patient_id
        assert row["accession"] == study.accession
        assert row["study_instance_uid"] == study.study_instance_uid
        assert {finding: int(row[finding]) for finding in made.truth.findings} == study.labels


def test_every_finding_is_neither_rare_nor_common(made: Made) -> None:
    for finding in made.truth.findings:
        assert 2 <= sum(study.labels[finding] for study in made.truth.studies) <= 11


def test_folders_hold_what_the_truth_says(made: Made) -> None:
    assert {path.name for path in made.root.iterdir() if path.is_dir()} == {s.directory for s in made.truth.studies}
    for study, folder in zip(made.truth.studies, made.truth.paths(made.root), strict=True):
        assert (folder / "report.txt").exists() == study.has_report
        assert (folder / "seg.dcm").is_file()
        images = [path for path in folder.rglob("*") if path.is_file() and path.suffix == ""]
        assert len(images) == len(study.series) * study.shape[2]
        assert {*study.series, *study.missing} == set(made.truth.channels)


def test_file_names_do_not_tell_the_order(chest: Made) -> None:
    folder = chest.root / chest.truth.studies[0].directory
    by_name = sorted((path for path in folder.rglob("*") if path.suffix == "" and path.is_file()), key=lambda p: p.name)
    heights = [float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in by_name]
    assert heights not in (sorted(heights), sorted(heights, reverse=True))


def test_names_stay_in_dicom_headers(made: Made) -> None:
    parts = {part for names in FICTION.values() for name in names for part in name.split("^")}
    for path in made.root.rglob("*"):
        assert not any(part.lower() in path.name.lower() for part in parts)
        if path.suffix in {".txt", ".csv", ".json"}:
            assert not any(part in path.read_text() for part in parts), path


def test_progress_is_told_after_each_study(tmp_path: Path) -> None:
    told: list[int] = []
    write_phantom("chest_ct", tmp_path / "set", studies=3, seed=0, on_study=told.append)
    assert told == [1, 2, 3]


def test_an_interrupted_set_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom("chest_ct", tmp_path / "set", studies=3, seed=0, on_study=stop)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_phantom("chest_ct", tmp_path / "set", studies=1, seed=0)
    assert (tmp_path / "set" / "labels.csv").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        write_phantom("chest_ct", tmp_path, studies=1, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("family", "studies", "seed", "message"),
    [
        ("knee_mr", 1, 0, "brain_mr, chest_ct"),
        ("chest_ct", 0, 0, "studies=0"),
        ("chest_ct", 1, -1, "seed=-1"),
    ],
)
def test_wrong_use_is_refused(family: FamilyName, studies: int, seed: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        write_phantom(family, tmp_path / "set", studies=studies, seed=seed)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write phantom studies"):
        write_phantom("chest_ct", tmp_path / "file" / "set", studies=1, seed=0)
