"""What was decided, for other programs: CSV, FHIR, and labels that can be trained on."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medfuse.domain import LabelValue, Provenance, Segment, Subject, SubjectKind, Verdict
from medfuse.errors import UsageError
from medfuse.ingest import read_labels, read_manifest, read_segmentation, read_volume, study_of
from medfuse.review import Desk, local_reader
from medfuse.review.export_labels import consensus, export_labels
from medfuse.review.exports import CSV_COLUMNS, study_reviews, write_csv, write_fhir
from tests.apps.scored_folder import FIRST, SECOND, write_scored_folder, write_study
from tests.unit.review.rooms import (
    EFFUSION,
    NODULE,
    OUTLINE,
    READER,
    WHOLE,
    desk_of,
    handle_of,
    opened,
    prediction,
    rejected,
    write_results,
    write_studies,
)

P, A, U, N = LabelValue.PRESENT, LabelValue.ABSENT, LabelValue.UNCERTAIN, LabelValue.NOT_ASSESSED


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Study 1 with two readers, one signed off and amended; study 2 with a withdrawn decision alone."""
    desk = desk_of(write_results(tmp_path / "results", prediction(1, 0.9), prediction(2, 0.2), rejected(3)))
    first, bell = handle_of(desk, 1), desk.room.desk(local_reader("Dr. Bell"))
    desk.decide(first, NODULE, Verdict.REJECTED, value="ABSENT", comment='=HYPERLINK(1); vessel, no nodule\n"x"')
    desk.decide(first, OUTLINE, Verdict.REJECTED)
    desk.decide(first, WHOLE, Verdict.ACCEPTED, comment="fine")
    desk.sign_off(first, comment="reported", seconds=30)
    desk.decide(first, EFFUSION, Verdict.UNSURE, reason="second look")
    bell.decide(first, NODULE, Verdict.ACCEPTED)
    desk.decide(handle_of(desk, 2), NODULE, Verdict.ACCEPTED)
    desk.undo(handle_of(desk, 2))
    return desk


def test_csv_has_one_row_a_standing_decision(desk: Desk, tmp_path: Path) -> None:
    n_rows = write_csv(desk.room, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == n_rows == 5
    assert tuple(rows[0]) == CSV_COLUMNS
    nodule = rows[0]
    assert (nodule["study_instance_uid"], nodule["reviewer"], nodule["status"]) == ("1.2.1", "Dr. Ames", "amended")
    assert (nodule["verdict"], nodule["value"], nodule["model_call"]) == ("REJECTED", "ABSENT", "PRESENT")
    assert (nodule["model_probability"], nodule["seconds_on_study"]) == ("0.9", "30.0")
    assert nodule["comment"] == '\'=HYPERLINK(1); vessel, no nodule\n"x"'
    assert rows[3]["reason"] == "second look"
    assert {row["subject_kind"] for row in rows} == {"FINDING", "SEGMENT", "STUDY"}


def test_fhir_says_what_stands_and_how_final_it_is(desk: Desk, tmp_path: Path) -> None:
    assert write_fhir(desk.room, tmp_path / "out.json") == 2
    bundle = json.loads((tmp_path / "out.json").read_text())
    resources = [entry["resource"] for entry in bundle["entry"]]
    reports = [r for r in resources if r["resourceType"] == "DiagnosticReport"]
    assert [r["status"] for r in reports] == ["amended", "preliminary"]
    assert reports[0]["conclusion"] == "accepted: fine\nreported"
    nodule = next(r for r in resources if r["resourceType"] == "Observation")
    assert nodule["valueCodeableConcept"]["coding"][0]["code"] == "2667000"
    addresses = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(addresses)) == len(addresses)
    assert {r["reference"] for report in reports for r in report.get("result", ())} <= set(addresses)
    write_fhir(desk.room, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "out.json").read_text()


def test_an_empty_review_is_an_empty_export(tmp_path: Path) -> None:
    room = opened(write_results(tmp_path / "results", prediction(1, 0.9)))
    assert write_csv(room, tmp_path / "out.csv") == 0
    assert write_fhir(room, tmp_path / "out.json") == 0
    assert "entry" not in json.loads((tmp_path / "out.json").read_text())
    assert list(study_reviews(room)) == []


@pytest.mark.parametrize(
    ("values", "expected"), [([], N), ([P], P), ([P, A], U), ([P, P, A], P), ([A, U, U], U), ([P, P, A, A], U)]
)
def test_the_majority_counts_and_a_draw_is_uncertain(values: list[LabelValue], expected: LabelValue) -> None:
    assert consensus(values) is expected


class TestLabels:
    @pytest.fixture
    def results(self, tmp_path: Path) -> Path:
        return write_scored_folder(tmp_path)

    def decided(self, results: Path) -> Desk:
        """The first study: the nodule is none, the effusion is right; the second: not signed off."""
        desk = desk_of(results)
        rows = {row.accession_number: row.handle for row in desk.page().rows}
        desk.decide(rows["ACC-001"], Subject(kind=SubjectKind.FINDING, name="lung_nodule"), Verdict.REJECTED)
        desk.sign_off(rows["ACC-001"])
        desk.decide(rows["ACC-002"], Subject(kind=SubjectKind.FINDING, name="pleural_effusion"), Verdict.ACCEPTED)
        return desk

    def test_corrections_become_labels_of_a_reader(self, results: Path, tmp_path: Path) -> None:
        desk = self.decided(results)
        done = export_labels(desk.room, tmp_path / "out" / "reviewed.csv")
        assert (done.studies, done.labels, done.corrected, done.unsigned) == (1, 1, 0, 1)
        (row,) = read_manifest(tmp_path / "out" / "reviewed.csv")
        assert (row.study_instance_uid, row.labels) == (FIRST, {"lung_nodule": A})
        assert study_of(row).study_instance_uid == FIRST
        labels = read_labels(tmp_path / "out" / "reviewed.labels.csv")
        assert labels.values[FIRST] == {"lung_nodule": A}
        assert labels.provenance[FIRST] is Provenance.READER

    def test_unsigned_readings_count_when_they_are_asked_for(self, results: Path, tmp_path: Path) -> None:
        desk = self.decided(results)
        export_labels(desk.room, tmp_path / "reviewed.csv", unsigned=True)
        by_uid = {row.study_instance_uid: row.labels for row in read_manifest(tmp_path / "reviewed.csv")}
        assert by_uid == {
            FIRST: {"lung_nodule": A, "pleural_effusion": N},
            SECOND: {"lung_nodule": N, "pleural_effusion": P},
        }

    def test_a_corrected_mask_is_found_as_the_segmentation(self, results: Path, tmp_path: Path) -> None:
        desk = self.decided(results)
        handle = next(row.handle for row in desk.page().rows if row.accession_number == "ACC-001")
        study = desk.case(handle).study()
        geometry = read_volume(study.series[0]).geometry
        drawn = np.zeros(geometry.shape, dtype=np.uint8)
        drawn[10:20, 10:20, 5:8] = 1
        segments = [Segment(number=1, name="nodule", algorithm_type="MANUAL")]
        mask = desk.save_segmentation(handle, drawn, study.series[0].key, segments)
        assert desk.room.masks.path(mask).suffix == ".dcm"
        nodule = Subject(kind=SubjectKind.SEGMENT, name="nodule")
        desk.decide(handle, nodule, Verdict.REJECTED, mask=mask, reason="drawn again")
        done = export_labels(desk.room, tmp_path / "reviewed.csv")
        assert done.corrected == 1
        (row,) = read_manifest(tmp_path / "reviewed.csv")
        found = study_of(row)
        assert (row.study_instance_uid, row.segmentation_count, row.report_count) == (FIRST, 1, 1)
        assert row.patient_key == study.patient_key
        assert found.reports[0].text == study.reports[0].text
        segmentation = read_segmentation(found.segmentations[0], read_volume(found.series[0]).geometry)
        assert np.array_equal(segmentation.label_map > 0, drawn > 0)
        assert [segment.name for segment in segmentation.segments] == ["nodule"]
        assert np.array_equal(read_volume(found.series[0]).voxels, read_volume(study.series[0]).voxels)
        export_labels(desk.room, tmp_path / "reviewed.csv")

    def test_a_rejected_mask_is_left_out_and_an_accepted_one_stays(self, tmp_path: Path) -> None:
        desk = desk_of(write_studies(tmp_path / "studies", n=3))
        handles = [row.handle for row in desk.page().rows]
        for handle, verdict in zip(handles[:2], (Verdict.REJECTED, Verdict.ACCEPTED), strict=True):
            study = desk.case(handle).study()
            (mask,) = desk.case(handle).delineations(study)
            subject = Subject(kind=SubjectKind.SEGMENT, name="segment_1", delineation=mask.id)
            desk.decide(handle, subject, verdict)
            desk.sign_off(handle)
        done = export_labels(desk.room, tmp_path / "reviewed.csv")
        assert (done.studies, done.corrected, done.labels) == (2, 1, 0)
        rows = read_manifest(tmp_path / "reviewed.csv")
        assert sorted(row.segmentation_count for row in rows) == [0, 1]
        assert all(study_of(row).reports for row in rows)
        assert not (tmp_path / "reviewed.labels.csv").exists()

    def test_a_corrected_nifti_mask_is_found_too(self, tmp_path: Path) -> None:
        desk = desk_of(write_studies(tmp_path / "studies", n=1))
        handle = desk.page().rows[0].handle
        study = desk.case(handle).study()
        drawn = np.zeros((6, 5, 4), dtype=np.uint8)
        drawn[0, 0, 0] = 1
        segments = [Segment(number=1, name="segment_1", algorithm_type="MANUAL")]
        mask = desk.save_segmentation(handle, drawn, study.series[0].key, segments)
        desk.decide(handle, Subject(kind=SubjectKind.SEGMENT, name="segment_1"), Verdict.REJECTED, mask=mask)
        desk.sign_off(handle)
        export_labels(desk.room, tmp_path / "reviewed.csv")
        (row,) = read_manifest(tmp_path / "reviewed.csv")
        found = study_of(row)
        geometry = read_volume(found.series[0]).geometry
        assert np.array_equal(read_segmentation(found.segmentations[0], geometry).label_map, drawn)
        assert row.patient_key == study.patient_key

    def test_targets_are_what_the_last_reader_gave(self, tmp_path: Path) -> None:
        folder = write_results(tmp_path / "results", prediction(1, 0.9))
        source = write_study(tmp_path / "source", "1.2.1")
        (folder / "sources.json").write_text(json.dumps({"1.2.1": {"path": str(source)}}))
        desk = desk_of(folder)
        handle = handle_of(desk, 1)
        for name, value in (("grade", "low"), ("grade", "high"), ("age", "68.5")):
            desk.decide(handle, Subject(kind=SubjectKind.TARGET, name=name), Verdict.REJECTED, value=value)
        desk.sign_off(handle)
        export_labels(desk.room, tmp_path / "reviewed.csv")
        (row,) = read_manifest(tmp_path / "reviewed.csv")
        assert (row.targets["grade"], float(row.targets["age"])) == ("high", 68.5)

    def test_nothing_to_write_says_why(self, results: Path, tmp_path: Path) -> None:
        desk = desk_of(results)
        with pytest.raises(UsageError, match="nobody has decided"):
            export_labels(desk.room, tmp_path / "a.csv")
        handle = next(row.handle for row in desk.page().rows if row.accession_number == "ACC-001")
        desk.decide(handle, Subject(kind=SubjectKind.FINDING, name="lung_nodule"), Verdict.ACCEPTED)
        with pytest.raises(UsageError, match="not signed off"):
            export_labels(desk.room, tmp_path / "a.csv")
        third = next(row.handle for row in desk.page().rows if row.accession_number == "ACC-003")
        desk.undo(handle)
        desk.decide(third, Subject(kind=SubjectKind.FINDING, name="lung_nodule"), Verdict.ACCEPTED)
        with pytest.raises(UsageError, match="none of the 1 reviewed studies can be used"):
            export_labels(desk.room, tmp_path / "a.csv", unsigned=True)
        assert not (tmp_path / "a.csv").exists()


def test_readers_are_told_apart_by_name(desk: Desk) -> None:
    (first, second) = study_reviews(desk.room)
    assert list(first.readings) == [READER.name, "Dr. Bell"]
    assert second.readings[READER.name].decisions == {}
