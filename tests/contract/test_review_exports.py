"""What a review writes for other programs, judged by outside libraries: fhir.resources and highdicom."""

import json
from pathlib import Path

import highdicom as hd
import pydicom
import pytest

from medfuse.domain import Shown, Subject, SubjectKind, Verdict
from medfuse.review import Desk, ReadingRoom, local_reader
from medfuse.review.export_sr import write_sr
from medfuse.review.exports import write_fhir
from tests.apps.scored_folder import FIRST, SECOND, THIRD, write_scored_folder
from tests.unit.review.rooms import desk_of

NODULE = Subject(kind=SubjectKind.FINDING, name="lung_nodule")
OUTLINE = Subject(kind=SubjectKind.SEGMENT, name="nodule")


@pytest.fixture
def room(tmp_path: Path) -> ReadingRoom:
    desk = desk_of(write_scored_folder(tmp_path))
    first, second, third = (handle(desk, accession) for accession in ("ACC-001", "ACC-002", "ACC-003"))
    desk.decide(first, NODULE, Verdict.REJECTED, value="ABSENT", comment="a <b>vessel</b>", shown=Shown.BLIND)
    desk.decide(first, OUTLINE, Verdict.REJECTED)
    desk.decide(first, Subject(), Verdict.ACCEPTED)
    desk.sign_off(first)
    desk.room.desk(local_reader("Dr. Bell")).decide(first, NODULE, Verdict.ACCEPTED)
    desk.decide(second, Subject(kind=SubjectKind.FINDING, name="pleural_effusion"), Verdict.UNSURE)
    desk.decide(third, NODULE, Verdict.ACCEPTED)
    return desk.room


def handle(desk: Desk, accession: str) -> str:
    return next(row.handle for row in desk.page().rows if row.accession_number == accession)


def test_the_fhir_bundle_is_valid_r4(room: ReadingRoom, tmp_path: Path) -> None:
    """R4B kept DiagnosticReport and Observation of R4 as they were (hl7.org/fhir/R4B/diff.html)."""
    from fhir.resources.R4B.bundle import Bundle

    write_fhir(room, tmp_path / "out.json")
    bundle = Bundle.model_validate_json((tmp_path / "out.json").read_text())
    kinds = [entry.resource.get_resource_type() for entry in bundle.entry]
    assert (kinds.count("DiagnosticReport"), kinds.count("Observation")) == (4, 5)
    told = json.loads(bundle.model_dump_json(exclude_none=True))
    assert told["entry"][0]["resource"]["imagingStudy"][0]["identifier"]["value"] == f"urn:oid:{FIRST}"


def test_an_sr_stands_for_each_reader_with_dicom_images(room: ReadingRoom, tmp_path: Path) -> None:
    written, left_out = write_sr(room, tmp_path / "sr")
    assert written == 3
    assert set(left_out) == {THIRD}
    assert "does not say where this study lies" in left_out[THIRD]
    names = sorted(path.relative_to(tmp_path / "sr").as_posix() for path in (tmp_path / "sr").rglob("*.dcm"))
    assert names == [f"{FIRST}/sr-review-1.dcm", f"{FIRST}/sr-review-2.dcm", f"{SECOND}/sr-review-1.dcm"]
    flags = {}
    for path in (tmp_path / "sr").rglob("*.dcm"):
        report = hd.sr.srread(path)
        flags[path.relative_to(tmp_path / "sr").as_posix()] = report.VerificationFlag
    assert flags == {names[0]: "VERIFIED", names[1]: "UNVERIFIED", names[2]: "UNVERIFIED"}
    said = str(pydicom.dcmread(tmp_path / "sr" / names[0]))
    assert "Absent" in said
    assert "a <b>vessel</b>" in said
