"""Made studies as real DICOM: CT and MR images, one file a slice, and DICOM SEG through highdicom.

What is the same for every slice of a series is encoded once; that is three times as fast as writing whole data sets.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset, write_file_meta_info
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, RLELossless

from medfuse.domain import Code, Segment, VolumeGeometry
from medfuse.phantom.case import Case, MadeSeries
from medfuse.phantom.plan import StudyPlan, derived_uid

IMPLEMENTATION_UID = UID(derived_uid("implementation"))
IMPLEMENTATION_NAME = "MEDFUSE_PHANTOM"
MANUFACTURER = "medfuse phantom"
CHARACTER_SET = "ISO_IR 192"
"""UTF-8 (PS3.3 section C.12.1.1.2): some names have accents."""

_VARYING = ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "SliceLocation", "PixelData")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyHeader:
    """The Patient, Study and Equipment modules of one study, and what its series share.

    Args:
        elements: DICOM keyword -> value.
        frame_of_reference_uid: One for all series of the study.
    """

    elements: Mapping[str, Any]
    frame_of_reference_uid: str


def study_header(plan: StudyPlan, *, description: str) -> StudyHeader:
    """The header that every file of a study shares (PS3.3 sections C.7.1.1, C.7.2.1, C.7.5.1)."""
    patient = plan.patient
    return StudyHeader(
        elements={
            "SpecificCharacterSet": CHARACTER_SET,
            "StudyInstanceUID": plan.uid("study"),
            "StudyDate": f"{plan.taken_on:%Y%m%d}",
            "StudyTime": f"{plan.taken_at:%H%M%S}",
            "StudyID": str(plan.index + 1),
            "StudyDescription": description,
            "AccessionNumber": plan.accession,
            "ReferringPhysicianName": "Lydgate^Tertius",
            "PatientName": patient.name,
            "PatientID": patient.identifier,
            "PatientBirthDate": f"{patient.birth_date:%Y%m%d}",
            "PatientSex": patient.sex,
            "PatientAge": f"{plan.age:03d}Y",
            "Manufacturer": MANUFACTURER,
            "ManufacturerModelName": "Phantom",
            "InstitutionName": "Middlemarch Infirmary",
            "SoftwareVersions": "1",
            "DeviceSerialNumber": "0001",
        },
        frame_of_reference_uid=plan.uid("frame"),
    )


def write_series(
    paths: Sequence[Path], series: MadeSeries, *, geometry: VolumeGeometry, header: StudyHeader, plan: StudyPlan
) -> None:
    """Write one image series, one file a slice.

    Args:
        paths: Where slice k goes, for each k.
        series: Voxels and acquisition.
        geometry: Grid of the voxels, LPS mm; the axes must be orthogonal.
        header: What the study's files share.
        plan: Gives UIDs, and whether pixels are RLE Lossless.

    Source: PS3.3 sections A.3 (CT Image), A.4 (MR Image), C.7.6.2 (Image Plane).
    """
    template = _series_header(series, geometry, header, plan)
    constant = _Encoded(template)
    for k, path in enumerate(paths):
        varying = _slice(series, geometry, plan, k)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = template.SOPClassUID
        meta.MediaStorageSOPInstanceUID = varying.SOPInstanceUID
        meta.TransferSyntaxUID = RLELossless if plan.compressed else ExplicitVRLittleEndian
        path.write_bytes(_preamble(meta) + constant.merged(varying))


def _series_header(series: MadeSeries, geometry: VolumeGeometry, header: StudyHeader, plan: StudyPlan) -> Dataset:
    is_ct = series.channel == "ct"
    columns, rows, _ = geometry.shape
    spacing, direction = geometry.affine.spacing_mm, geometry.affine.direction
    elements = {
        **header.elements,
        "SOPClassUID": CTImageStorage if is_ct else MRImageStorage,
        "Modality": "CT" if is_ct else "MR",
        "SeriesInstanceUID": plan.uid("series", series.channel),
        "SeriesNumber": str(series.number),
        "SeriesDate": header.elements["StudyDate"],
        "SeriesTime": header.elements["StudyTime"],
        "AcquisitionDate": header.elements["StudyDate"],
        "AcquisitionTime": header.elements["StudyTime"],
        "ContentDate": header.elements["StudyDate"],
        "ContentTime": header.elements["StudyTime"],
        "AcquisitionNumber": "1",
        "PatientPosition": "HFS",
        "FrameOfReferenceUID": header.frame_of_reference_uid,
        "PositionReferenceIndicator": None,
        "ImageOrientationPatient": [_decimal(x) for x in direction[:, :2].T.ravel()],
        "PixelSpacing": [_decimal(spacing[1]), _decimal(spacing[0])],
        "SliceThickness": _decimal(spacing[2]),
        "SpacingBetweenSlices": None if is_ct else _decimal(spacing[2]),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(np.issubdtype(series.voxels.dtype, np.signedinteger)),
        **series.attributes,
    }
    if is_ct:
        del elements["SpacingBetweenSlices"]
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _slice(series: MadeSeries, geometry: VolumeGeometry, plan: StudyPlan, k: int) -> Dataset:
    """The elements of slice k that differ from slice to slice."""
    count = geometry.shape[2]
    position = geometry.affine.apply((0, 0, k))
    pixels = np.ascontiguousarray(series.voxels[:, :, k].T)
    dataset = Dataset()
    dataset.SOPInstanceUID = instance_uid(plan, series.channel, k)
    dataset.InstanceNumber = str(k + 1 if series.ascending else count - k)
    dataset.ImagePositionPatient = [_decimal(x) for x in position]
    dataset.SliceLocation = _decimal(float(position @ geometry.affine.direction[:, 2]))
    dataset.add_new("PixelData", "OB" if plan.compressed else "OW", _stored(pixels, compressed=plan.compressed))
    dataset["PixelData"].is_undefined_length = plan.compressed
    return dataset


def instance_uid(plan: StudyPlan, channel: str, k: int) -> str:
    """SOP Instance UID of slice k of a channel."""
    return plan.uid("series", channel, k)


def _stored(pixels: NDArray[Any], *, compressed: bool) -> bytes:
    """Pixel Data of one slice; pydicom's own RLE coder is named, so that bytes do not follow from what is installed."""
    raw = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    if not compressed:
        return raw
    frame = RLELosslessEncoder.encode(
        raw,
        encoding_plugin="pydicom",
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=int(np.issubdtype(pixels.dtype, np.signedinteger)),
        photometric_interpretation="MONOCHROME2",
    )
    return encapsulate([frame])


def _decimal(value: float) -> str:
    """A number as DICOM's decimal string, at most 16 characters (PS3.5 section 6.2, DS)."""
    text = f"{value:.8f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _preamble(meta: FileMetaDataset) -> bytes:
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_file_meta_info(buffer, meta)
    return b"\0" * 128 + b"DICM" + buffer.getvalue()


class _Encoded:
    """A data set encoded once, with gaps where elements of a slice go (elements are sorted: PS3.5 section 7.1)."""

    def __init__(self, dataset: Dataset) -> None:
        tags = [pydicom.datadict.tag_for_keyword(keyword) or 0 for keyword in _VARYING]
        edges = [-1, *tags, 2**32]
        self._pieces = []
        for low, high in pairwise(edges):
            piece = Dataset()
            piece.update({element.tag: element for element in dataset if low < element.tag < high})
            self._pieces.append(_encode(piece))

    def merged(self, varying: Dataset) -> bytes:
        """The whole data set with one slice's elements in their places."""
        parts = [self._pieces[0]]
        for keyword, piece in zip(_VARYING, self._pieces[1:], strict=True):
            element = Dataset()
            element.add(varying[keyword])
            parts += [_encode(element), piece]
        return b"".join(parts)


def _encode(dataset: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset, CHARACTER_SET)
    return buffer.getvalue()


def write_segmentation(
    path: Path, case: Case, *, segments: Sequence[Segment], sources: Iterable[Path], plan: StudyPlan
) -> None:
    """Write the label map of a study as a binary DICOM SEG that refers to its source series.

    A study without any segment keeps its (empty) frames, so that "nothing there" is said, not left out.

    Args:
        path: The file.
        case: Label map and geometry.
        segments: What the numbers in the map are.
        sources: Files of the source series, in slice order.
        plan: Gives UIDs and times.

    Source: PS3.3 sections A.51, C.8.20.
    """
    images = [pydicom.dcmread(source) for source in sources]
    frames = np.ascontiguousarray(case.label_map.transpose(2, 1, 0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pixel array is empty|.*omit_empty_frames.*")
        seg = hd.seg.Segmentation(
            source_images=images,
            pixel_array=frames,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(segment, plan) for segment in segments],
            series_instance_uid=plan.uid("segmentation"),
            series_number=100,
            sop_instance_uid=plan.uid("segmentation", 1),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name="Phantom",
            software_versions="1",
            device_serial_number="0001",
            content_label="TRUTH",
            content_description="True segments of the phantom",
            omit_empty_frames=bool(frames.any()),
        )
    _settle(seg, plan)
    dcmwrite(path, seg, enforce_file_format=True)


def _description(segment: Segment, plan: StudyPlan) -> hd.seg.SegmentDescription:
    if segment.category is None or segment.type is None:
        raise ValueError(f"segment {segment.name} has no codes")
    return hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.name,
        segmented_property_category=_concept(segment.category),
        segmented_property_type=_concept(segment.type),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        tracking_uid=plan.uid("tracking", segment.name),
        tracking_id=segment.name,
    )


def _concept(code: Code) -> hd.sr.CodedConcept:
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _settle(seg: Dataset, plan: StudyPlan) -> None:
    """Replace what highdicom takes from the clock and from chance, so that the same seed gives the same bytes."""
    day, hour = f"{plan.taken_on:%Y%m%d}", f"{plan.taken_at:%H%M%S}"
    for keyword in ("InstanceCreationDate", "ContentDate", "SeriesDate"):
        if keyword in seg:
            setattr(seg, keyword, day)
    for keyword in ("InstanceCreationTime", "ContentTime", "SeriesTime"):
        if keyword in seg:
            setattr(seg, keyword, hour)
    uid = plan.uid("dimensions")
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
    for item in seg.ContributingEquipmentSequence:
        item.ContributionDateTime = day + hour
    seg.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    seg.file_meta.ImplementationVersionName = IMPLEMENTATION_NAME
