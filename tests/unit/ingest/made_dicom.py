"""Small DICOM files with a known truth, for the tests of ingest."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def uid(*parts: object) -> str:
    """A UID that depends on its parts alone."""
    return generate_uid(entropy_srcs=[str(part) for part in parts])


def ramp(shape: tuple[int, int, int] = (5, 4, 3)) -> NDArray[np.int16]:
    """Voxels `(columns, rows, slices)` that all differ."""
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def image(**tags: Any) -> Dataset:
    """A CT slice without pixels; `tags` are set on it, None deletes."""
    dataset = Dataset()
    values: dict[str, Any] = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SOPClassUID": CT_IMAGE,
        "SOPInstanceUID": uid("instance", sorted(tags.items(), key=str)),
        "StudyInstanceUID": uid("study"),
        "SeriesInstanceUID": uid("series"),
        "FrameOfReferenceUID": uid("frame"),
        "Modality": "CT",
        "PatientID": "PATIENT-7",
        "PatientName": "Planted^Name",
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyDate": "20200101",
        "StudyTime": "120000",
        "StudyID": "1",
        "ReferringPhysicianName": "",
        "AccessionNumber": "ACC-1",
        "Manufacturer": "made",
        "ManufacturerModelName": "made",
        "DeviceSerialNumber": "1",
        "SoftwareVersions": "1",
        "SeriesNumber": 3,
        "SeriesDescription": "made",
        "InstanceNumber": 1,
        "ImagePositionPatient": [0.0, 0.0, 0.0],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [1.0, 1.0],
        "SliceThickness": 2.0,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "Rows": 4,
        "Columns": 5,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
    }
    for keyword, value in {**values, **tags}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def save(dataset: Dataset, path: Path, *, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a dataset as a DICOM file, native pixels compressed where `syntax` is."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or CT_IMAGE
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or uid(path.name)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    if (
        meta.TransferSyntaxUID.__class__(syntax).is_compressed
        and "Deflated" not in meta.TransferSyntaxUID.__class__(syntax).name
    ):
        dataset.compress(syntax, generate_instance_uid=False)
    else:
        meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def plane_bytes(plane: NDArray[Any]) -> bytes:
    """Pixel data of a `(columns, rows)` plane."""
    data = np.ascontiguousarray(plane.T).tobytes()
    return data + b"\0" * (len(data) % 2)


def slices(
    voxels: NDArray[Any],
    *,
    origin: tuple[float, float, float] = (-10.0, 20.0, 30.0),
    orientation: tuple[float, ...] = AXIAL,
    spacing: tuple[float, float, float] = (1.0, 1.0, 2.0),
    **tags: Any,
) -> list[Dataset]:
    """One dataset a slice of `voxels` `(columns, rows, slices)`; `spacing` is along i, j, k in mm."""
    normal = np.cross(orientation[:3], orientation[3:])
    datasets = []
    for k in range(voxels.shape[2]):
        position = np.array(origin) + k * spacing[2] * normal
        dataset = image(
            **{
                "ImagePositionPatient": [float(f"{value:.6f}") for value in position],
                "ImageOrientationPatient": list(orientation),
                "PixelSpacing": [spacing[1], spacing[0]],
                "Rows": voxels.shape[1],
                "Columns": voxels.shape[0],
                "InstanceNumber": k + 1,
                "BitsAllocated": voxels.dtype.itemsize * 8,
                "BitsStored": voxels.dtype.itemsize * 8,
                "HighBit": voxels.dtype.itemsize * 8 - 1,
                "PixelRepresentation": int(voxels.dtype.kind == "i"),
                "SOPInstanceUID": uid(k, sorted(tags.items(), key=str)),
                **tags,
            }
        )
        dataset.PixelData = plane_bytes(voxels[:, :, k])
        dataset["PixelData"].VR = "OW" if voxels.dtype.itemsize > 1 else "OB"
        datasets.append(dataset)
    return datasets


def write_series(
    folder: Path, voxels: NDArray[Any] | None = None, *, syntax: str = ExplicitVRLittleEndian, **how: Any
) -> list[Path]:
    """Write a series of made slices, file names in reverse order and without suffix."""
    datasets = slices(ramp() if voxels is None else voxels, **how)
    return [save(dataset, folder / f"{len(datasets) - k:03d}", syntax=syntax) for k, dataset in enumerate(datasets)]


def enhanced(voxels: NDArray[Any], *, order: list[int], spacing: float = 2.5) -> Dataset:
    """An enhanced CT object whose frame n shows slice `order[n]`; its rescale is 2 x - 1000."""
    dataset = image(
        SOPClassUID=ENHANCED_CT, SOPInstanceUID=uid("enhanced"), Rows=voxels.shape[1], Columns=voxels.shape[0]
    )
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        del dataset[keyword]
    dataset.NumberOfFrames = len(order)
    dataset.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=list(AXIAL))
    shared.PixelMeasuresSequence = _item(PixelSpacing=[1.5, 0.5])
    shared.PixelValueTransformationSequence = _item(RescaleSlope=2, RescaleIntercept=-1000)
    groups = []
    for slice_number in order:
        group = Dataset()
        group.PlanePositionSequence = _item(ImagePositionPatient=[1.0, 2.0, 3.0 + spacing * slice_number])
        group.FrameContentSequence = _item(StackID="1")
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.PixelData = b"".join(plane_bytes(voxels[:, :, k]) for k in order)
    dataset["PixelData"].VR = "OW"
    return dataset


def _item(**tags: Any) -> Sequence:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return Sequence([item])
