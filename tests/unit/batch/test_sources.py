"""What there is to score: a manifest's studies, an archive's, and what tells that they have changed."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from medfuse.batch import archive_source, folder_source, manifest_source
from medfuse.batch.sources import PASSING
from medfuse.errors import ServerError, StudyError
from medfuse.ingest import find_studies, row_of, write_manifest
from medfuse.ingest.network.archive import Deliver, InstanceRecord, Query, SeriesRequest, StudyRecord
from medfuse.ingest.network.servers import DicomwebServer
from tests.network.studies import ROOT, instance

ONE, TWO = f"{ROOT}.51", f"{ROOT}.52"


def write(folder: Path, uid: str, slices: int = 4) -> Path:
    folder.mkdir(parents=True)
    for number in range(slices):
        (folder / str(number)).write_bytes(instance(uid, 1, number)[1])
    return folder


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A manifest of two studies, a folder each."""
    write(tmp_path / "studies" / "a", ONE)
    write(tmp_path / "studies" / "b", TWO)
    found = find_studies(tmp_path / "studies")
    path = tmp_path / "manifest.csv"
    write_manifest(path, [row_of(study, tmp_path / "studies") for study in found.studies])
    return path


def hashes(manifest: Path) -> dict[str, str]:
    return {job.study_instance_uid: job.input_hash for job in manifest_source(manifest).jobs}


def test_the_studies_of_a_manifest_are_looked_for_when_their_turn_comes(manifest: Path) -> None:
    source = manifest_source(manifest)
    assert [job.study_instance_uid for job in source.jobs] == [ONE, TWO]
    assert source.places[ONE].path == manifest.parent / "studies" / "a"
    assert source.places[ONE].patient_key
    assert source.jobs[1].open().study_instance_uid == TWO
    shutil.rmtree(manifest.parent / "studies" / "a")
    with pytest.raises(StudyError):
        source.jobs[0].open()
    (gone,) = manifest_source(manifest).rejected
    assert (gone.study_instance_uid, gone.reason) == (ONE, "STUDY_NOT_FOUND")


def test_a_changed_file_changes_its_study_alone(manifest: Path) -> None:
    before = hashes(manifest)
    path = manifest.parent / "studies" / "a" / "2"
    path.write_bytes(instance(ONE, 1, 2, side=16, SeriesDescription="other")[1])
    after = hashes(manifest)
    assert after[ONE] != before[ONE]
    assert after[TWO] == before[TWO]


def test_a_copy_with_other_times_is_no_change_where_files_are_small(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", ONE)
    (before,) = folder_source(folder).jobs
    os.utime(folder / "2", (1, 1))
    (touched,) = folder_source(folder).jobs
    assert touched.input_hash == before.input_hash
    (folder / "report.txt").write_text("INDICATION: a man of 74")
    (with_report,) = folder_source(folder).jobs
    assert with_report.input_hash != before.input_hash


class InMemory:
    """An archive of two studies, one of which it does not send."""

    def find_studies(self, query: Query, limit: int | None = None) -> list[StudyRecord]:
        return [StudyRecord(study_instance_uid=uid, n_instances=4) for uid in (ONE, TWO)]

    def list_instances(self, study_instance_uid: str, series_modality: str = "") -> list[InstanceRecord]:
        series = f"{study_instance_uid}.1"
        return [InstanceRecord(series_instance_uid=series, sop_instance_uid=f"{series}.{n}") for n in range(4)]

    def retrieve(self, study_instance_uid: str, wanted: Sequence[SeriesRequest], deliver: Deliver) -> None:
        if study_instance_uid == TWO:
            raise ServerError("it refuses")
        for number in range(4):
            deliver(instance(ONE, 1, number)[1])

    def close(self) -> None:
        pass


def test_an_archives_study_is_fetched_when_its_turn_comes_and_dropped_after(tmp_path: Path) -> None:
    archive = InMemory()
    server = DicomwebServer(url="http://localhost/dicom-web", retries=0)
    with archive_source(archive, server, archive.find_studies(Query(modality="CT"))) as source:
        one, two = source.jobs
        assert source.places == {}
        study = one.open()
        assert len(study.series[0].files) == 4
        assert study.path.is_dir()
        one.close()
        assert not study.path.exists()
        with pytest.raises(StudyError) as refused:
            two.open()
        assert refused.value.reason == "SERVER_REFUSED"
        folder = study.path.parent
    assert not folder.exists()


def test_an_archive_that_is_silent_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = InMemory()

    def silent(*given: object) -> None:
        raise ServerError("no answer", passing=True)

    monkeypatch.setattr(archive, "retrieve", silent)
    server = DicomwebServer(url="http://localhost/dicom-web", retries=0)
    records = [StudyRecord(study_instance_uid=f"1.2.{n}", n_instances=4) for n in range(3)]
    with archive_source(archive, server, records) as source:
        for job in source.jobs[:2]:
            with pytest.raises(StudyError) as refused:
                job.open()
            assert refused.value.reason in PASSING
        with pytest.raises(ServerError, match="again later"):
            source.jobs[2].open()
