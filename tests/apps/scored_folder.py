"""A small folder of results over real DICOM files, for the tests of the dashboard."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medfuse.domain import (
    Affine,
    Evidence,
    Finding,
    LabelSet,
    ModelIdentity,
    Prediction,
    Rejected,
    Scored,
    Segment,
    Segmentation,
    SegmentVolume,
    VolumeGeometry,
)
from medfuse.outputs import ScoreTable, write_nifti, write_prediction

SHAPE = (128, 128, 40)
SPACING_MM, THICKNESS_MM = 2.8, 5.0
ORIGIN_MM = (-179.2, -179.2, 100.0)
LABELS = LabelSet(findings=("lung_nodule", "pleural_effusion"), segments=("nodule", "vessel"))
MODEL = ModelIdentity(name="phantom-ct", version="0.1.0", weights_sha256="ab" * 32, config_sha256="cd" * 32)
FIRST, SECOND, THIRD, HOSTILE = "1.2.840.1.11", "1.2.840.1.12", "1.2.840.1.13", "1.2.840.1.15"
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
REPORT = (
    "INDICATION: Persistent cough for six weeks, former smoker.\n"
    "HISTORY: Hypertension. No known malignancy.\n"
    "TECHNIQUE: CT of the chest without contrast.\n"
    "FINDINGS: A rounded opacity in the right lung, no pleural fluid.\n"
    "IMPRESSION: Solitary nodule in the right lung.\n"
)
TEXT_INPUT = (
    "Persistent cough for six weeks, former smoker.\n"
    "Hypertension. No known malignancy.\n"
    "CT of the chest without contrast."
)
HOSTILE_REPORT = f"HISTORY: former smoker {EVIL} **not bold** [link](http://example.org) $x$ :smile:\n"
HOSTILE_INPUT = f"former smoker {EVIL} **not bold** [link](http://example.org) $x$ :smile:"


def write_scored_folder(directory: Path) -> Path:
    """A folder of results over studies beside it; returns the folder.

    The first study has two series, and a prior: the second one, of the same patient. That is of a leaky model and has
    no report; the source of the third is not on the disk, the fourth is rejected, the last has a hostile report.
    """
    results = directory / "results"
    sources = {}
    for n, (uid, report) in enumerate(((FIRST, REPORT), (SECOND, ""), (HOSTILE, HOSTILE_REPORT))):
        patient = FIRST[-2:] if uid == SECOND else uid[-2:]
        folder = write_study(directory / f"source{n}", uid, patient=patient)
        if uid == FIRST:
            write_study(folder / "again", uid, series=2)
        sources[uid] = {"path": f"../{folder.name}", "patient_key": f"key-{patient}"}
        if report:
            (folder / "report.txt").write_text(report, encoding="utf-8")
    results.mkdir()
    with ScoreTable(results / "scores.csv", LABELS) as table:
        for outcome in outcomes():
            table.append(outcome)
            if isinstance(outcome, Scored):
                folder = results / outcome.prediction.study_instance_uid
                folder.mkdir()
                write_prediction(outcome.prediction, folder / "prediction.json")
                write_nifti(segmentation(), folder / "segmentation.nii.gz")
    (results / "sources.json").write_text(json.dumps(sources))
    return results


def outcomes() -> tuple[Scored | Rejected, ...]:
    """The outcomes in the order of scoring."""
    leaky = ModelIdentity(
        name="leaky", version="0.1.0", weights_sha256="ef" * 32, config_sha256="cd" * 32, leakage_allowed=True
    )
    return (
        Scored(prediction=prediction(FIRST, "ACC-001", (0.91, 0.12))),
        Scored(prediction=prediction(SECOND, "ACC-002", (0.35, 0.71), model=leaky, text="", missing=("text",))),
        Scored(prediction=prediction(THIRD, "ACC-003", (0.05, 0.02))),
        Rejected(study_instance_uid="1.2.840.1.14", accession_number="ACC-004", reason="MIXED_PATIENTS", detail="two"),
        Scored(prediction=prediction(HOSTILE, "ACC-005", (0.01, 0.01), text=HOSTILE_INPUT)),
    )


def prediction(
    uid: str,
    accession: str,
    probabilities: tuple[float, float],
    *,
    model: ModelIdentity = MODEL,
    text: str = TEXT_INPUT,
    missing: tuple[str, ...] = (),
) -> Prediction:
    """A prediction whose nodule rests on the words `former smoker`."""
    start = text.find("former smoker")
    evidence = (Evidence(start=start, end=start + len("former smoker"), weight=0.8),) if start >= 0 else ()
    nodule, effusion = probabilities
    return Prediction(
        study_instance_uid=uid,
        accession_number=accession,
        model=model,
        findings=(
            Finding(name="lung_nodule", probability=nodule, operating_point=0.5, calibrated=True, evidence=evidence),
            Finding(name="pleural_effusion", probability=effusion),
        ),
        segment_volumes=(
            SegmentVolume(name="nodule", volume_mm3=32105.0),
            SegmentVolume(name="vessel", volume_mm3=21756.0),
        ),
        series_used={"ct": f"{uid}.1"},
        missing=missing,
        text_input=text,
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).isoformat(),
    )


def write_study(folder: Path, uid: str, *, patient: str = "", series: int = 1) -> Path:
    """A chest-like CT as DICOM, one file a slice; the second series of a study has fewer slices."""
    folder.mkdir(parents=True)
    values = hounsfield()
    for k in range(SHAPE[2] if series == 1 else SHAPE[2] // 4):
        header = _slice_header(uid, k, patient or uid[-2:], series)
        header.PixelData = (values[:, :, k].T + 1024).astype("<u2").tobytes()
        pydicom.dcmwrite(folder / f"IM{k:03d}", header, enforce_file_format=True)
    return folder


def hounsfield() -> np.ndarray:
    """The CT values, shape `SHAPE`: air, a body with lungs, heart and spine, the vessel and the nodule, some noise."""
    values = np.full(SHAPE, -1000.0)
    values[_ellipse((64, 64), (58, 42))] = -90
    values[_ellipse((64, 64), (54, 38))] = 45
    for centre in (38, 90):
        values[_ellipse((centre, 60), (21, 29))] = -860
    values[_ellipse((70, 52), (17, 15))] = 130
    values[_ellipse((64, 92), (7, 6))] = 420
    values[label_map() > 0] = 60
    values += np.random.default_rng(0).normal(0, 12, SHAPE)
    return np.rint(np.clip(values, -1000, 2000))


def label_map() -> np.ndarray:
    """A ball in the right lung, 1, and a rod along k in the left one, 2; shape `SHAPE`."""
    i, j, k = np.indices(SHAPE)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[((i - 92) ** 2 + (j - 66) ** 2 < 12) & (abs(k - 20) < 8)] = 2
    labels[(i - 36) ** 2 + (j - 52) ** 2 + ((k - 22) * THICKNESS_MM / SPACING_MM) ** 2 < 50] = 1
    return labels


def _ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    i, j, _ = np.indices(SHAPE)
    inside: np.ndarray = ((i - centre[0]) / radii[0]) ** 2 + ((j - centre[1]) / radii[1]) ** 2 < 1
    return inside


def segmentation() -> Segmentation:
    """The label map on the grid of the CT."""
    affine = Affine.from_parts(
        origin_mm=ORIGIN_MM, direction=np.eye(3), spacing_mm=(SPACING_MM, SPACING_MM, THICKNESS_MM)
    )
    return Segmentation(
        label_map=label_map(),
        geometry=VolumeGeometry(shape=SHAPE, affine=affine),
        segments=tuple(Segment(number=n, name=name) for n, name in enumerate(LABELS.segments, start=1)),
    )


def _slice_header(uid: str, k: int, patient: str, series: int) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = CTImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = f"{uid}.{series}.{k + 1}"
    header.StudyInstanceUID, header.SeriesInstanceUID = uid, f"{uid}.{series}"
    header.FrameOfReferenceUID = f"{uid}.9"
    header.PatientID, header.PatientName, header.Modality = f"patient{patient}", "Planted^Name", "CT"
    header.SeriesNumber, header.InstanceNumber, header.SeriesDescription = 1 + series, k + 1, "Chest 5 mm"
    header.ImagePositionPatient = [*ORIGIN_MM[:2], ORIGIN_MM[2] + THICKNESS_MM * k]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.PixelSpacing, header.SliceThickness = [SPACING_MM, SPACING_MM], THICKNESS_MM
    header.Columns, header.Rows, header.SamplesPerPixel = SHAPE[0], SHAPE[1], 1
    header.PhotometricInterpretation, header.PixelRepresentation = "MONOCHROME2", 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
    header.RescaleSlope, header.RescaleIntercept = 1, -1024
    return header
