"""Made CT series for the DICOM benchmark: noise as a scanner's, headers as long as a scanner's."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from scipy import ndimage

AIR = -1024
SYNTAXES = {
    "JPEG lossless": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
    "RLE": RLELossless,
}


def uid(*parts: object) -> str:
    """A UID that depends on its parts alone."""
    return generate_uid(entropy_srcs=["bench", *map(str, parts)])


def body(n_slices: int, size: int, seed: int = 0) -> Iterator[NDArray[np.int16]]:
    """Slices of a made body in HU: organs, fat and bone that change slowly, and correlated noise of 20 HU."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:size, :size] - size / 2) / size
    organs = ndimage.gaussian_filter(rng.normal(size=(size, size)), size / 40) * size * 2
    textures = [ndimage.gaussian_filter(rng.normal(size=(size, size)), 0.6) * 45 for _ in range(8)]
    table = (np.abs(y - 0.33) < 0.004) & (np.abs(x) < 0.35)
    for k in range(n_slices):
        grow = 1 + 0.08 * np.sin(k / 40)
        inside = (x / 0.42) ** 2 + (y / 0.29) ** 2 < grow
        spine = (x / 0.03) ** 2 + ((y - 0.18) / 0.035) ** 2 < 1
        values = np.where(inside, np.clip(np.roll(organs, k, axis=0), -120, 180), -1000.0)
        values[spine] = 700
        values[table] = 100
        noise = np.roll(textures[k % 8], (k * 7, k * 13), axis=(0, 1)) * np.where(inside, 1.0, 0.35)
        yield np.clip(np.rint(values + noise), AIR, 3071).astype(np.int16)


def header(k: int, *, size: int, study: int = 0, series: int = 0) -> Dataset:
    """A CT header of 130 elements: a scanner's usual ones, private blocks, sequences of both kinds of length."""
    made = Dataset()
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
        "InstanceCreationDate": "20240102",
        "InstanceCreationTime": f"1012{k % 60:02d}.123000",
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": uid(study, series, k),
        "StudyDate": "20240102",
        "SeriesDate": "20240102",
        "AcquisitionDate": "20240102",
        "ContentDate": "20240102",
        "StudyTime": "101200.000000",
        "SeriesTime": "101210.000000",
        "AcquisitionTime": f"1012{k % 60:02d}.100000",
        "ContentTime": f"1012{k % 60:02d}.200000",
        "AccessionNumber": f"ACC{study:05d}",
        "Modality": "CT",
        "Manufacturer": "Made",
        "InstitutionName": "Made Hospital",
        "InstitutionAddress": "1 Street, City, Country",
        "ReferringPhysicianName": "Referrer^Made",
        "StationName": "CT0001",
        "StudyDescription": "Thorax with contrast",
        "SeriesDescription": f"Thorax 1.0 Br36 {series}",
        "InstitutionalDepartmentName": "Radiology",
        "PhysiciansOfRecord": "Record^Made",
        "PerformingPhysicianName": "Performing^Made",
        "OperatorsName": "Operator^Made",
        "ManufacturerModelName": "Maker One",
        "PatientName": f"Made^Patient{study}",
        "PatientID": f"P{study:05d}",
        "PatientBirthDate": "19500101",
        "PatientSex": "O",
        "PatientAge": "074Y",
        "PatientSize": 1.75,
        "PatientWeight": 80.0,
        "BodyPartExamined": "CHEST",
        "ContrastBolusAgent": "APPLIED",
        "SliceThickness": 1.0,
        "KVP": 120.0,
        "DataCollectionDiameter": 500.0,
        "DeviceSerialNumber": "12345",
        "SoftwareVersions": ["1.0", "VA40"],
        "ProtocolName": "Thorax",
        "ReconstructionDiameter": 380.0,
        "DistanceSourceToDetector": 1085.6,
        "DistanceSourceToPatient": 595.0,
        "GantryDetectorTilt": 0.0,
        "TableHeight": 160.0,
        "RotationDirection": "CW",
        "ExposureTime": 500,
        "XRayTubeCurrent": 200 + k % 7,
        "Exposure": 100 + k % 7,
        "FilterType": "0",
        "GeneratorPower": 40,
        "FocalSpots": 1.2,
        "DateOfLastCalibration": "20240101",
        "TimeOfLastCalibration": "070000.000000",
        "ConvolutionKernel": ["Br36f", "3"],
        "PatientPosition": "HFS",
        "SingleCollimationWidth": 0.6,
        "TotalCollimationWidth": 38.4,
        "TableSpeed": 46.0,
        "TableFeedPerRotation": 23.0,
        "SpiralPitchFactor": 0.6,
        "ExposureModulationType": "XYZ_EC",
        "EstimatedDoseSaving": 12.5,
        "CTDIvol": 7.2,
        "StudyInstanceUID": uid("study", study),
        "SeriesInstanceUID": uid("series", study, series),
        "StudyID": str(study),
        "SeriesNumber": 2 + series,
        "AcquisitionNumber": 1,
        "InstanceNumber": k + 1,
        "ImagePositionPatient": [-190.0, -190.0, round(-1234.5 + k, 3)],
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "FrameOfReferenceUID": uid("frame", study),
        "PositionReferenceIndicator": "",
        "SliceLocation": round(-1234.5 + k, 3),
        "ImageComments": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": size,
        "Columns": size,
        "PixelSpacing": [0.7421875, 0.7421875],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "SmallestImagePixelValue": -1024,
        "LargestImagePixelValue": 3071,
        "WindowCenter": [40.0, -600.0],
        "WindowWidth": [400.0, 1200.0],
        "RescaleIntercept": 0.0,
        "RescaleSlope": 1.0,
        "RescaleType": "HU",
        "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
        "RequestingPhysician": "Requesting^Made",
        "RequestedProcedureDescription": "Thorax",
        "PerformedProcedureStepStartDate": "20240102",
        "PerformedProcedureStepStartTime": "101200.000000",
        "PerformedProcedureStepID": "1",
    }
    for keyword, value in values.items():
        setattr(made, keyword, value)
    made.ReferencedStudySequence = _sequence(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=uid("r"))
    made.ReferencedImageSequence = _sequence(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=uid("i"))
    made["ReferencedImageSequence"].is_undefined_length = True
    made.ProcedureCodeSequence = _sequence(CodeValue="CT1", CodingSchemeDesignator="99M", CodeMeaning="Thorax")
    for group, creator in ((0x0019, "MAKER CT VA0 COAD"), (0x0021, "MAKER MED")):
        block = made.private_block(group, creator, create=True)
        for n in range(12):
            block.add_new(n, "DS", f"{n}.25")
    return made


def _sequence(**tags: Any) -> Sequence:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return Sequence([item])


def write_slice(path: Path, made: Dataset, plane: NDArray[np.int16], syntax: str = ExplicitVRLittleEndian) -> None:
    """Write one slice `(rows, columns)`, compressed where `syntax` is."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    made.file_meta = meta
    if syntax == ExplicitVRLittleEndian:
        made.PixelData = plane.tobytes()
        made["PixelData"].VR = "OW"
    elif syntax == RLELossless:
        made.PixelData = plane.tobytes()
        made["PixelData"].VR = "OW"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.set_original_encoding(False, True)
        made.compress(RLELossless, generate_instance_uid=False)
    else:
        made.PixelData = encapsulate([_encode(plane, syntax)])
        made["PixelData"].VR = "OB"
        made["PixelData"].is_undefined_length = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(path, enforce_file_format=True)


def as_stored(made: Dataset, plane: NDArray[np.int16]) -> NDArray[np.uint16]:
    """Twelve unsigned bits with an intercept, as compressed CT is stored; the header is changed to say so."""
    made.BitsStored, made.HighBit, made.PixelRepresentation, made.RescaleIntercept = 12, 11, 0, AIR
    made.SmallestImagePixelValue, made.LargestImagePixelValue = 0, 4095
    return (plane - AIR).astype(np.uint16)


def _encode(plane: NDArray[Any], syntax: str) -> bytes:
    if syntax == JPEGLosslessSV1:
        return bytes(imagecodecs.jpeg8_encode(plane, lossless=True, predictor=1, bitspersample=12))
    if syntax == JPEGLSLossless:
        return bytes(imagecodecs.jpegls_encode(plane))
    return bytes(imagecodecs.jpeg2k_encode(plane, level=0, codecformat="j2k", reversible=True, bitspersample=12))


def write_series(folder: Path, *, n_slices: int, size: int, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a series of slices, file names in an order of their own."""
    folder.mkdir(parents=True)
    order = np.random.default_rng(1).permutation(n_slices)
    for k, plane in enumerate(body(n_slices, size)):
        made = header(k, size=size)
        stored = plane if syntax == ExplicitVRLittleEndian else as_stored(made, plane)
        write_slice(folder / f"IM{order[k]:06d}", made, stored, syntax)
    return folder


def write_studies(root: Path, *, n_files: int, per_series: int = 100, size: int = 64) -> list[Path]:
    """Write many small studies of two series each; gives the files."""
    plane = next(body(1, size))
    files = []
    for n in range(n_files):
        series, k = divmod(n, per_series)
        folder = root / f"{series // 2:04d}" / f"{series % 2}"
        if k == 0:
            folder.mkdir(parents=True)
        path = folder / f"IM{k:06d}"
        write_slice(path, header(k, size=size, study=series // 2, series=series % 2), plane)
        files.append(path)
    return files


def drop_from_memory(files: list[Path]) -> None:
    """Ask the system to forget the content of files; names and sizes stay known to it."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
