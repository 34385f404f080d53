"""What a person corrected or said, as DICOM: a SEG and an SR of their own, read by others."""

import dataclasses
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from medfuse.domain import (
    Finding,
    Prediction,
    Review,
    ReviewKind,
    Segmentation,
    SubjectKind,
    TargetKind,
    TargetPrediction,
    Verdict,
)
from medfuse.ingest import read_segmentation
from medfuse.outputs import (
    SignOff,
    edited_segmentation,
    measure,
    review_sr,
    write_dicom,
    write_dicom_seg,
    write_edited_segmentation,
    write_review_sr,
)
from medfuse.outputs.dicom_seg import dicom_seg
from medfuse.outputs.dicom_sr import dicom_sr
from tests.contract.judges import as_a_viewer_reads, dciodvfy_errors, dcmtk
from tests.unit.outputs import cases

READER = "Reader^Rita"
GEOMETRY = cases.grid(cases.oblique())
SOURCES = cases.classic_series(GEOMETRY, "CT")
DRAWN = cases.label_map(GEOMETRY)


def corrected() -> Segmentation:
    """The second segment changed by one voxel, the first as it was."""
    voxels = DRAWN.label_map.copy()
    i, j, k = np.argwhere(voxels == 2)[0]
    voxels[i, j, k] = 0
    return dataclasses.replace(DRAWN, label_map=voxels)


@pytest.fixture
def predecessor(tmp_path: Path) -> Path:
    path = tmp_path / "seg.dcm"
    write_dicom_seg(DRAWN, SOURCES, path, model=cases.MODEL)
    return path


def types(dataset: pydicom.Dataset) -> list[str]:
    return [str(item.SegmentAlgorithmType) for item in dataset.SegmentSequence]


def test_a_corrected_segmentation_is_a_new_object_that_names_its_author(tmp_path: Path, predecessor: Path) -> None:
    path, edited = tmp_path / "edited.dcm", corrected()
    write_edited_segmentation(
        edited, SOURCES, path, reviewer=READER, predecessor=predecessor, model=cases.MODEL, description="one voxel less"
    )
    before, now = pydicom.dcmread(predecessor), pydicom.dcmread(path)
    assert dciodvfy_errors(path) == []
    dcmtk("dcmdump", path)
    masks = as_a_viewer_reads(path, SOURCES)
    for segment in edited.segments:
        np.testing.assert_array_equal(masks[segment.name], edited.label_map == segment.number)
    np.testing.assert_array_equal(read_segmentation(path, GEOMETRY).label_map, edited.label_map)
    assert {now.SOPInstanceUID, now.SeriesInstanceUID}.isdisjoint({before.SOPInstanceUID, before.SeriesInstanceUID})
    assert (now.StudyInstanceUID, now.PatientID) == (before.StudyInstanceUID, before.PatientID)
    assert (str(now.ContentCreatorName), now.ContentDescription) == (READER, "one voxel less")
    assert types(now) == ["AUTOMATIC", "SEMIAUTOMATIC"], "the first is still what the model drew"
    assert [item.TrackingUID for item in now.SegmentSequence] == [item.TrackingUID for item in before.SegmentSequence]
    assert now.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert len(now.SourceImageSequence) == 1 + len(SOURCES), "and the images"
    listed = [one for series in now.ReferencedSeriesSequence for one in series.ReferencedInstanceSequence]
    assert before.SOPInstanceUID in {one.ReferencedSOPInstanceUID for one in listed}
    assert now.ReferencedSeriesSequence[0].SeriesInstanceUID == SOURCES[0].SeriesInstanceUID
    assert now.ContributingEquipmentSequence[0].DeviceSerialNumber == cases.MODEL.weights_sha256[:16]
    assert "research use" in now.SeriesDescription
    assert len(now.SeriesDescription) <= 64


@pytest.mark.parametrize(
    "change",
    ["a voxel more on a slice without any", "a voxel more", "everything gone"],
)
def test_any_changed_voxel_makes_a_segment_semiautomatic(predecessor: Path, change: str) -> None:
    voxels = DRAWN.label_map.copy()
    if change == "everything gone":
        voxels[voxels == 1] = 0
    else:
        k = 0 if change.endswith("any") else 2
        i, j = np.argwhere(voxels[:, :, k] == 0)[0]
        voxels[i, j, k] = 1
    edited = edited_segmentation(
        dataclasses.replace(DRAWN, label_map=voxels),
        SOURCES,
        reviewer=READER,
        predecessor=pydicom.dcmread(predecessor),
        model=cases.MODEL,
    )
    assert types(edited) == ["SEMIAUTOMATIC", "AUTOMATIC"]


def test_an_unchanged_segmentation_stays_automatic_by_the_algorithm_that_its_file_names(predecessor: Path) -> None:
    edited = edited_segmentation(DRAWN, SOURCES, reviewer=READER, predecessor=pydicom.dcmread(predecessor))
    assert types(edited) == ["AUTOMATIC", "AUTOMATIC"]
    assert edited.SegmentSequence[0].SegmentAlgorithmName == "medfuse hippocampus"


def test_what_a_person_drew_is_manual(tmp_path: Path) -> None:
    edited = edited_segmentation(DRAWN, SOURCES, reviewer="山田 太郎")
    write_dicom(edited, tmp_path / "manual.dcm")
    now = pydicom.dcmread(tmp_path / "manual.dcm")
    assert types(now) == ["MANUAL", "MANUAL"]
    assert str(now.ContentCreatorName) == "山田 太郎^"
    images = {source.SOPInstanceUID for source in SOURCES}
    assert {item.ReferencedSOPInstanceUID for item in now.SourceImageSequence} <= images, "it has no predecessor"
    assert dciodvfy_errors(tmp_path / "manual.dcm") == []


def test_without_its_predecessor_nothing_of_a_model_counts_as_untouched() -> None:
    assert types(edited_segmentation(DRAWN, SOURCES, reviewer=READER, model=cases.MODEL)) == ["SEMIAUTOMATIC"] * 2


def test_an_edited_segmentation_can_be_edited_again(tmp_path: Path, predecessor: Path) -> None:
    first = edited_segmentation(corrected(), SOURCES, reviewer=READER, predecessor=pydicom.dcmread(predecessor))
    write_dicom(first, tmp_path / "first.dcm")
    segments = tuple(dataclasses.replace(one, algorithm_type="SEMIAUTOMATIC") for one in DRAWN.segments)
    again = dataclasses.replace(DRAWN, segments=segments)
    write_edited_segmentation(again, SOURCES, tmp_path / "second.dcm", reviewer="B", predecessor=tmp_path / "first.dcm")
    second = pydicom.dcmread(tmp_path / "second.dcm")
    assert second.SourceImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert types(second) == ["SEMIAUTOMATIC", "SEMIAUTOMATIC"]
    assert dciodvfy_errors(tmp_path / "second.dcm") == []


def test_nobody_edits_nothing() -> None:
    with pytest.raises(ValueError, match="who edited"):
        edited_segmentation(DRAWN, SOURCES, reviewer=" ")


# What a reader said


def said() -> Prediction:
    return dataclasses.replace(
        cases.prediction(),
        findings=(Finding(name="atrophy", probability=0.25), Finding(name="impairment", probability=0.5)),
        targets=(
            TargetPrediction(name="age", kind=TargetKind.NUMBER, value=63.0, unit="years"),
            TargetPrediction(name="stage", kind=TargetKind.GRADES, classes=("I", "II"), probabilities=(0.5, 0.5)),
        ),
    )


def review(subject: str | None, kind: SubjectKind, verdict: Verdict | None = None, **more: str) -> Review:
    return Review(
        study_instance_uid=cases.STUDY_UID,
        subject=subject,
        verdict=verdict,
        reviewer=READER,
        created_at="2026-01-02T03:04:05+00:00",
        kind=ReviewKind.DECISION,
        subject_kind=kind,
        **more,
    )


REVIEWS = (
    review("atrophy", SubjectKind.FINDING, Verdict.REJECTED, value="ABSENT", comment="<b>no</b> é"),
    review("impairment", SubjectKind.FINDING, Verdict.UNSURE, value="UNCERTAIN"),
    review("posterior hippocampus", SubjectKind.SEGMENT, Verdict.ACCEPTED),
    review("age", SubjectKind.TARGET, Verdict.REJECTED, value="71.5"),
    review("stage", SubjectKind.TARGET, value="II"),
    review(None, SubjectKind.STUDY, Verdict.ACCEPTED),
)


def answers(group: object) -> dict[str, str]:
    return {one.name.meaning: one.value.meaning for one in group.get_qualitative_evaluations()}  # type: ignore[attr-defined]


def test_a_reading_says_who_held_what(tmp_path: Path, predecessor: Path) -> None:
    path = tmp_path / "review.dcm"
    model_report = tmp_path / "sr.dcm"
    write_dicom(dicom_sr(said(), SOURCES), model_report)
    write_review_sr(
        REVIEWS,
        said(),
        SOURCES,
        path,
        reviewer=READER,
        segmentation=predecessor,
        measurements=measure(DRAWN),
        predecessor=model_report,
    )
    assert dciodvfy_errors(path) == []
    assert "&lt;b&gt;no" in dcmtk("dsr2xml", path)
    report = hd.sr.srread(path)
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in report
    person, device = report.content.get_observer_contexts()
    assert person.observer_type == codes.DCM.Person
    assert str(person.observer_identifying_attributes.name) == READER
    assert device.observer_identifying_attributes.serial_number == cases.MODEL.weights_sha256[:16]
    groups = {group.tracking_identifier: group for group in report.content.get_image_measurement_groups()}
    assert list(groups) == ["atrophy", "impairment", "age", "stage", "study"]
    assert groups["atrophy"].finding_type == codes.SCT.Atrophy
    assert answers(groups["atrophy"]) == {"verdict": "REJECTED", "Presence of property": "Absent"}
    assert answers(groups["impairment"]) == {"verdict": "UNSURE", "Presence of property": "Undetermined"}
    assert answers(groups["stage"]) == {"value": "II"}
    (age,) = groups["age"].get_measurements()
    assert (age.value, age.unit.value) == (71.5, "{years}")
    (segment,) = report.content.get_volumetric_roi_measurement_groups()
    assert answers(segment)["verdict"] == "ACCEPTED"
    assert segment.tracking_uid == pydicom.dcmread(predecessor).SegmentSequence[1].TrackingUID
    assert {one.name.meaning for one in segment.get_measurements()} >= {"Volume"}
    (before,) = report.PredecessorDocumentsSequence
    before_uid = before.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert before_uid == pydicom.dcmread(model_report).SOPInstanceUID
    assert report.StudyInstanceUID == cases.STUDY_UID
    assert str(report.PatientName) == cases.NAME


def test_only_a_sign_off_makes_it_verified(tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    write_review_sr(
        REVIEWS[:1], said(), SOURCES, tmp_path / "r.dcm", reviewer=READER, signed_off=SignOff(organization="H", at=at)
    )
    report = pydicom.dcmread(tmp_path / "r.dcm")
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("VERIFIED", "FINAL")
    (observer,) = report.VerifyingObserverSequence
    assert (str(observer.VerifyingObserverName), observer.VerifyingOrganization) == (READER, "H")
    assert str(observer.VerificationDateTime) == "20260102030405+0000"
    assert dciodvfy_errors(tmp_path / "r.dcm") == []


def test_a_reading_of_a_segment_without_its_object_is_a_group_without_a_region() -> None:
    report = review_sr(REVIEWS[2:3], said(), SOURCES, reviewer=READER)
    (group,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_image_measurement_groups()
    assert answers(group) == {"verdict": "ACCEPTED"}


def test_what_is_refused() -> None:
    other = dataclasses.replace(REVIEWS[0], reviewer="Other^Otto")
    with pytest.raises(ValueError, match="another reader"):
        review_sr([other], said(), SOURCES, reviewer=READER)
    elsewhere = dataclasses.replace(REVIEWS[0], study_instance_uid="1.2.3")
    with pytest.raises(ValueError, match="another study"):
        review_sr([elsewhere], said(), SOURCES, reviewer=READER)
    with pytest.raises(ValueError, match="who read"):
        review_sr([], said(), SOURCES, reviewer="")
    with pytest.raises(ValueError, match="time with its zone"):
        SignOff(organization="H", at=datetime(2026, 1, 2))
    with pytest.raises(ValueError, match="organization"):
        SignOff(organization=" ", at=datetime.now(UTC))


def test_the_edited_object_can_be_what_a_reading_refers_to(predecessor: Path) -> None:
    edited = edited_segmentation(corrected(), SOURCES, reviewer=READER, predecessor=pydicom.dcmread(predecessor))
    report = review_sr(REVIEWS[2:3], said(), SOURCES, reviewer=READER, segmentation=edited)
    (group,) = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_volumetric_roi_measurement_groups()
    assert group.referenced_segment[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == edited.SOPInstanceUID
    assert dicom_seg(DRAWN, SOURCES, model=cases.MODEL).SOPInstanceUID != edited.SOPInstanceUID
