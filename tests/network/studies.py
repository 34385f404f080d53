"""Small studies with odd corners: several transfer syntaxes, names beyond ASCII, two patients, two series each."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from medfuse.ingest.dicom.files import quiet

ROOT = "1.2.826.0.1.3680043.8.498.77"
CHEST, HEAD, BIG = f"{ROOT}.1", f"{ROOT}.2", f"{ROOT}.3"
NAMES = ("Geheim^Greta", "Secret^Sam")


@dataclass(frozen=True)
class Made:
    """Every instance as the file that was stored, by study and by SOP Instance UID."""

    by_study: dict[str, dict[str, bytes]]

    @property
    def files(self) -> list[bytes]:
        return [data for study in self.by_study.values() for data in study.values()]


def instance(
    study: str,
    series: int,
    number: int,
    *,
    syntax: str = ExplicitVRLittleEndian,
    modality: str = "CT",
    side: int = 16,
    **more: object,
) -> tuple[str, bytes]:
    """A slice, as its SOP Instance UID and its file."""
    sop_class = {"CT": CTImageStorage, "MR": MRImageStorage, "OT": SecondaryCaptureImageStorage}[modality]
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.{series}"
    dataset.SOPInstanceUID = f"{study}.{series}.{number}"
    dataset.PatientName, dataset.PatientID = NAMES[0], "PID-4711"
    dataset.PatientBirthDate, dataset.PatientSex = "19600101", "F"
    dataset.StudyDate, dataset.StudyTime = "20240115", "101500"
    dataset.AccessionNumber, dataset.StudyID = "ACC1", "1"
    dataset.StudyDescription = "CT Thorax Übersicht"
    dataset.Modality = modality
    dataset.SeriesNumber, dataset.InstanceNumber = series, number
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number * 2.5], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 2.5
    dataset.FrameOfReferenceUID = f"{study}.9"
    dataset.Rows = dataset.Columns = side
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    voxels = np.random.default_rng(number).integers(0, 2000, (side, side)).astype("<i2")
    big = syntax == ExplicitVRBigEndian
    dataset.PixelData = (voxels.astype(">i2") if big else voxels).tobytes()
    dataset["PixelData"].VR = "OW"
    with quiet():
        for keyword, value in more.items():
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = (
        ExplicitVRLittleEndian if syntax in (RLELossless, JPEG2000Lossless) else syntax
    )
    if syntax in (RLELossless, JPEG2000Lossless):
        dataset.compress(syntax, generate_instance_uid=False)
    file = BytesIO()
    with quiet():
        dataset.save_as(file, enforce_file_format=True)
    return dataset.SOPInstanceUID, file.getvalue()


def make_studies() -> Made:
    other = {"PatientID": "PID-0815", "PatientName": NAMES[1], "StudyDescription": "MR Head", "AccessionNumber": "ACC2"}
    chest = [instance(CHEST, 1, n) for n in range(4)]
    chest += [instance(CHEST, 2, n, syntax=RLELossless) for n in range(3)]
    chest += [instance(CHEST, 3, n, syntax=JPEG2000Lossless, side=64) for n in range(2)]
    chest += [instance(CHEST, 4, 0, modality="OT", StudyDescription="CT Thorax Übersicht")]
    head = [
        instance(HEAD, 1, n, modality="MR", syntax=ImplicitVRLittleEndian, StudyDate="20240220", **other)
        for n in range(3)
    ]
    head += [
        instance(HEAD, 2, n, modality="MR", syntax=ExplicitVRBigEndian, StudyDate="20240220", **other) for n in range(2)
    ]
    big = [instance(BIG, 1, n, side=128, StudyDate="20231224", AccessionNumber="ACC3") for n in range(30)]
    return Made({CHEST: dict(chest), HEAD: dict(head), BIG: dict(big)})
