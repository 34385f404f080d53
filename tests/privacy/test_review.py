"""A planted patient appears in no handle, no log, no error and no file of a review but the corrected DICOM SEG."""

import logging
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medfuse.domain import Segment, Subject, SubjectKind, Verdict
from medfuse.errors import MedfuseError
from medfuse.ingest import read_volume
from medfuse.review import Desk, WorklistFilter
from medfuse.review.audit import audit_reviews
from medfuse.review.export_labels import export_labels
from medfuse.review.exports import write_csv, write_fhir
from tests.apps.scored_folder import write_study
from tests.unit.review.rooms import desk_of

UID = "1.2.840.99999.77"
PLANTED = ("Zebulon", "Quixana", "MRN-7788421", "19510302")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    folder = write_study(tmp_path / "studies", UID)
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        image.PatientName, image.PatientID, image.PatientBirthDate = "Zebulon^Quixana", "MRN-7788421", "19510302"
        image.save_as(path)
    (folder / "report.txt").write_text("INDICATION: Mr. Quixana (Zebulon), MRN-7788421, coughs.\n")
    return desk_of(tmp_path / "studies")


def planted_in(content: bytes) -> list[str]:
    return [word for word in PLANTED if word.lower().encode() in content.lower()]


def test_the_patient_is_in_no_file_that_a_review_writes_but_the_seg(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    (row,) = desk.page().rows
    series = desk.case(row.handle).study().series[0]
    drawn = np.zeros(read_volume(series).geometry.shape, dtype=np.uint8)
    drawn[5, 5, 5] = 1
    segments = [Segment(number=1, name="nodule", algorithm_type="MANUAL")]
    mask = desk.save_segmentation(row.handle, drawn, series.key, segments)
    desk.decide(row.handle, Subject(kind=SubjectKind.SEGMENT, name="nodule"), Verdict.REJECTED, mask=mask)
    desk.decide(row.handle, Subject(kind=SubjectKind.FINDING, name="nodule"), None, value="PRESENT")
    desk.sign_off(row.handle)
    write_csv(desk.room, tmp_path / "out" / "reviews.csv")
    write_fhir(desk.room, tmp_path / "out" / "reviews.json")
    export_labels(desk.room, tmp_path / "out" / "reviewed.csv")
    assert audit_reviews(desk.room.store.database, desk.room.masks.folder).is_whole
    desk.room.close()
    written = [path for path in (tmp_path / "studies.review").rglob("*") if path.is_file()]
    written += [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    holding = [path.name for path in written if planted_in(path.read_bytes())]
    assert holding == [f"{mask}.dcm"], "an archive needs the patient in an object for it, and nothing else does"
    out, err = capfd.readouterr()
    assert planted_in(f"{caplog.text}{out}{err}".encode()) == []


def test_a_handle_says_nothing_of_a_study_and_an_error_nothing_of_a_patient(desk: Desk) -> None:
    (row,) = desk.page().rows
    assert not any(part in row.handle for part in (UID, "7788421", row.title))
    said = []
    for call in (
        lambda: desk.case(UID),
        lambda: desk.decide(row.handle, Subject(), Verdict.ACCEPTED, mask="MRN-7788421"),
        lambda: desk.save_segmentation(row.handle, np.zeros((1, 1, 1), dtype=np.uint8), "MRN-7788421", ()),
        lambda: desk.decide(row.handle, Subject(kind=SubjectKind.TARGET, name="Quixana"), None, value="1"),
    ):
        with pytest.raises(MedfuseError) as refused:
            call()
        said.append(str(refused.value))
    assert planted_in("\n".join(said).encode()) == []
    assert desk.page(WorklistFilter(text="Quixana")).total == 0
