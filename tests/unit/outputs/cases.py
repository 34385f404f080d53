"""Small DICOM series, label maps and predictions for the tests of what medfuse writes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import ArrayLike
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medfuse.domain import (
    Affine,
    Finding,
    LabelSet,
    Modality,
    ModelIdentity,
    Prediction,
    Rejected,
    Scored,
    Segment,
    Segmentation,
    SegmentVolume,
    Series,
    Study,
    VolumeGeometry,
)

MODEL = ModelIdentity(name="hippocampus", version="0.1.0", weights_sha256="ab" * 32, config_sha256="cd" * 32)
LABELS = LabelSet(findings=("atrophy", "impairment"), segments=("anterior hippocampus", "posterior hippocampus"))
STUDY_UID = "1.2.840.99999.1"
NAME, PATIENT_ID, BIRTH_DATE = "Zebulon^Quixana", "MRN-7788421", "19510302"

AXIAL = np.eye(3)
SAGITTAL = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
CORONAL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
FLIPPED = np.diag([-1.0, -1.0, 1.0])
FLIPPED_COLUMNS = np.diag([1.0, -1.0, -1.0])
BACKWARDS = np.diag([1.0, 1.0, -1.0])


def oblique() -> np.ndarray:
    """A rotation by odd angles about all three axes."""
    a, b, c = np.deg2rad([17.0, -23.0, 41.0])
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rz @ ry @ rx


def grid(direction: ArrayLike = AXIAL, *, shape: tuple[int, int, int] = (7, 6, 5)) -> VolumeGeometry:
    """A grid with three different sizes and spacings."""
    affine = Affine.from_parts(origin_mm=(-31.5, 12.25, -104.125), direction=direction, spacing_mm=(0.7, 0.9, 2.5))
    return VolumeGeometry(shape=shape, affine=affine)


def label_map(
    geometry: VolumeGeometry,
    names: Sequence[str] = LABELS.segments,
    *,
    numbers: Sequence[int] = (),
    empty: bool = False,
) -> Segmentation:
    """A random label map without any symmetry; its first and last slices are empty."""
    numbers = numbers or range(1, len(names) + 1)
    voxels = np.random.default_rng(7).choice([0, *numbers], size=geometry.shape).astype(np.uint8)
    if geometry.shape[2] > 2:
        voxels[:, :, [0, -1]] = 0
    segments = tuple(Segment(number=number, name=name) for number, name in zip(numbers, names, strict=True))
    return Segmentation(label_map=voxels * (not empty), geometry=geometry, segments=segments)


def header(modality: str = "MR") -> pydicom.Dataset:
    """What is the same in every image of a series, with a patient in it."""
    dataset = pydicom.Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = {"MR": "1.2.840.10008.5.1.4.1.1.4", "CT": "1.2.840.10008.5.1.4.1.1.2"}[modality]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY_UID, f"{STUDY_UID}.7"
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = f"{STUDY_UID}.9", ""
    dataset.Modality, dataset.Manufacturer = modality, "maker"
    dataset.PatientName, dataset.PatientID = NAME, PATIENT_ID
    dataset.PatientBirthDate, dataset.PatientSex = BIRTH_DATE, "M"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20260102", "101112", "3", "ACC1"
    dataset.ReferringPhysicianName = "Doe^Jane"
    dataset.SeriesNumber = 4
    return dataset


def classic_series(geometry: VolumeGeometry, modality: str = "MR") -> list[pydicom.Dataset]:
    """The headers of a classic series on a grid, one image a slice, in the order of the slices."""
    images = []
    for k in range(geometry.shape[2]):
        image = header(modality)
        _meta(image, f"{STUDY_UID}.7.{k + 1}")
        image.InstanceNumber = geometry.shape[2] - k
        image.ImagePositionPatient = [f"{x:.8f}" for x in geometry.affine.apply((0, 0, k))]
        image.ImageOrientationPatient = [f"{x:.10f}" for x in geometry.affine.direction[:, :2].T.ravel()]
        image.PixelSpacing = [str(round(s, 6)) for s in geometry.affine.spacing_mm[[1, 0]]]
        image.SliceThickness = "2"
        image.Columns, image.Rows = geometry.shape[:2]
        images.append(image)
    return images


def enhanced_series(geometry: VolumeGeometry) -> list[pydicom.Dataset]:
    """One enhanced MR header on a grid: frames in shuffled order, the orientation in each of them."""
    image = header()
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    _meta(image, f"{STUDY_UID}.8.1")
    image.Columns, image.Rows = geometry.shape[:2]
    image.NumberOfFrames = geometry.shape[2]
    shared, frames = pydicom.Dataset(), []
    measures = pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = [str(s) for s in geometry.affine.spacing_mm[[1, 0]].round(6)], "2"
    shared.PixelMeasuresSequence = [measures]
    for k in np.random.default_rng(3).permutation(geometry.shape[2]):
        frame, position, orientation = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [f"{x:.8f}" for x in geometry.affine.apply((0, 0, k))]
        orientation.ImageOrientationPatient = [f"{x:.10f}" for x in geometry.affine.direction[:, :2].T.ravel()]
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [position], [orientation]
        frames.append(frame)
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [shared], frames
    return [image]


def _meta(image: pydicom.Dataset, sop_instance_uid: str) -> None:
    image.SOPInstanceUID = sop_instance_uid
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.ImplementationClassUID = generate_uid()


def prediction(uid: str = STUDY_UID, *, text: str = "", segments: bool = True, probability: float = 0.25) -> Prediction:
    """A prediction of `LABELS`."""
    volumes = tuple(SegmentVolume(name=name, volume_mm3=10.5 + n) for n, name in enumerate(LABELS.segments))
    return Prediction(
        study_instance_uid=uid,
        accession_number="ACC1",
        model=MODEL,
        findings=tuple(Finding(name=name, probability=probability, operating_point=0.5) for name in LABELS.findings),
        segment_volumes=volumes if segments else (),
        series_used={"t1": f"{STUDY_UID}.7"},
        missing=() if text else ("text",),
        text_input=text,
        created_at="2026-01-02T03:04:05+00:00",
    )


def scored(uid: str = STUDY_UID, *, text: str = "", segmentation: Segmentation | None = None) -> Scored:
    """A scored study; its label map is on the series of `study`."""
    said = prediction(uid, text=text, segments=segmentation is not None)
    series = None if segmentation is None else f"{STUDY_UID}.7"
    return Scored(prediction=said, segmentation=segmentation, segmentation_series_uid=series)


def rejected(uid: str = STUDY_UID, *, reason: str = "TRUNCATED_FILE", detail: str = "a file is cut off") -> Rejected:
    """A rejected study."""
    return Rejected(study_instance_uid=uid, accession_number="ACC2", reason=reason, detail=detail)


def study(*, nifti: bool = False, uid: str = STUDY_UID) -> Study:
    """A study of one series; its files do not exist."""
    file = Path("t1.nii.gz" if nifti else "IM1")
    series = Series(series_instance_uid=f"{STUDY_UID}.7", modality=Modality.MR, files=(file,))
    return Study(study_instance_uid=uid, patient_key="k", accession_number="ACC1", path=Path(), series=(series,))
