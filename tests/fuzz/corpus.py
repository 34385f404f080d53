"""Small whole files of every kind that medfuse reads, for the mutations to start from.

Each seed is a folder: its first file is the one that is mutated, the others are its whole companions.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from tests.acceptance.encoders import LOSSLESS, LOSSY, NATIVE, save_compressed
from tests.acceptance.siemens import mosaic
from tests.dicom_cases import (
    STORAGE,
    FrameOf,
    Truth,
    affine_of,
    base_tags,
    enhanced,
    frames_of_truth,
    item,
    save,
    save_bare,
    set_tags,
    slices,
    truth_of,
    uid,
)

SHAPE = (24, 20, 3)


def small_truth(dtype: type = np.uint16, high: int = 4000) -> Truth:
    """A smooth volume, which every codec takes."""
    i, j, k = np.indices(SHAPE)
    return Truth(voxels=((90 * i + 70 * j + 50 * k) % high).astype(dtype), affine=affine_of())


def _classic(folder: Path, syntax: str) -> None:
    eight_bits = UID(syntax).keyword == "JPEGBaseline8Bit"
    truth = small_truth(np.uint8, 250) if eight_bits else small_truth()
    bits = {} if eight_bits else {"BitsStored": 12, "HighBit": 11}
    for k, dataset in enumerate(slices(truth, modality="MR", PixelPaddingValue=0, **bits)):
        save_compressed(dataset, folder / f"{k}.dcm", syntax)


def _bare(folder: Path) -> None:
    for k, dataset in enumerate(slices(small_truth(np.int16))):
        save_bare(dataset, folder / f"{k}.dcm")


def _implicit_ct(folder: Path) -> None:
    for k, dataset in enumerate(slices(truth_of(SHAPE), RescaleIntercept=-24, WindowCenter=40, WindowWidth=400)):
        save(dataset, folder / f"{k}.dcm", syntax=ImplicitVRLittleEndian)


def _tilted_ct(folder: Path) -> None:
    for k, dataset in enumerate(slices(truth_of(SHAPE, shear=(0, 0.7, 0)), GantryDetectorTilt=15)):
        save(dataset, folder / f"{k}.dcm")


def _pet(folder: Path) -> None:
    tracer = item(
        RadionuclideTotalDose=370e6, RadionuclideHalfLife=6586.2, RadiopharmaceuticalStartDateTime="20200101110000"
    )
    tags = {"Units": "BQML", "DecayCorrection": "START", "PatientWeight": 75, "SeriesDate": "20200101"}
    tags |= {"SeriesTime": "120000", "AcquisitionTime": "120000", "RadiopharmaceuticalInformationSequence": tracer}
    for k, dataset in enumerate(slices(truth_of(SHAPE, low=0), modality="PT", **tags)):
        save(dataset, folder / f"{k}.dcm")


def _echoes(folder: Path) -> None:
    for n in (1, 2):
        each = lambda k, n=n: {"EchoNumbers": n, "EchoTime": 5.0 * n, "SOPInstanceUID": uid("echo", n, k)}  # noqa: E731
        for k, dataset in enumerate(slices(truth_of(SHAPE, seed=n), modality="MR", each=each)):
            save(dataset, folder / f"{n}{k}.dcm")


def _enhanced(folder: Path, syntax: str, modality: str) -> None:
    truth = small_truth()
    frames: list[FrameOf] = []
    for n in range(2):
        frames += frames_of_truth(truth, content={"TemporalPositionIndex": n + 1, "DimensionIndexValues": [1, n + 1]})
    save_compressed(enhanced(frames, modality=modality, shared=False), folder / "0.dcm", syntax)


def _mosaic(folder: Path) -> None:
    for n in range(2):
        truth = truth_of((8, 6, 7), low=0, seed=n)
        save(mosaic(truth, SOPInstanceUID=uid("mosaic", n), AcquisitionNumber=n), folder / f"{n}.dcm")


def _ct_stack(folder: Path) -> list[Dataset]:
    datasets = slices(truth_of(SHAPE))
    for k, dataset in enumerate(datasets):
        save(dataset, folder / f"slice{k}.dcm")
    return datasets


def _segmentation(folder: Path, kind: str) -> None:
    import highdicom
    from pydicom.sr.coding import Code

    sources = _ct_stack(folder)
    for source in sources:
        source.PatientBirthDate, source.PatientSex = "", ""
        source.StudyTime, source.StudyID = "120000", "1"
    words = Code("123037004", "SCT", "Anatomical Structure")
    segment = highdicom.seg.SegmentDescription(
        1, "lesion", words, words, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    mask = np.zeros((3, SHAPE[1], SHAPE[0]), dtype=np.uint8)
    mask[:, 4:12, 5:15] = 1
    seg = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=mask if kind != "FRACTIONAL" else mask.astype(np.float32) * 0.75,
        segmentation_type=kind,
        segment_descriptions=[segment],
        series_instance_uid=uid("seg series"),
        series_number=9,
        sop_instance_uid=uid("seg"),
        instance_number=1,
        manufacturer="made",
        manufacturer_model_name="made",
        software_versions="1",
        device_serial_number="1",
    )
    save(seg, folder / "0.dcm")


def _structure_set(folder: Path) -> None:
    sources = _ct_stack(folder)
    contours = []
    for source in sources:
        z = float(source.ImagePositionPatient[2])
        points = [-19.0, 32.0, z, -12.0, 32.0, z, -12.0, 50.0, z, -19.0, 50.0, z]
        contours.append(item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=points)[0])
    dataset = set_tags(Dataset(), base_tags("CT", "rt"))
    tags = {
        "SOPClassUID": STORAGE + "481.3",
        "SOPInstanceUID": uid("rt"),
        "Modality": "RTSTRUCT",
        "StructureSetROISequence": item(ROINumber=1, ROIName="lesion", ReferencedFrameOfReferenceUID=uid("frame")),
        "ROIContourSequence": item(ReferencedROINumber=1, ContourSequence=contours),
        "RTROIObservationsSequence": item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="GTV"),
    }
    save(set_tags(dataset, tags), folder / "0.dcm")


def _structured_report(folder: Path) -> None:
    _ct_stack(folder)
    code = lambda meaning: item(CodeValue="121071", CodingSchemeDesignator="DCM", CodeMeaning=meaning)  # noqa: E731
    text = {"RelationshipType": "CONTAINS", "ValueType": "TEXT", "TextValue": "No mass. Käse."}
    inner = item(ConceptNameCodeSequence=code("Finding"), **text)
    section = {"RelationshipType": "CONTAINS", "ValueType": "CONTAINER", "ContinuityOfContent": "SEPARATE"}
    dataset = set_tags(Dataset(), base_tags("CT", "sr"))
    tags = {
        "SOPClassUID": STORAGE + "88.11",
        "SOPInstanceUID": uid("sr"),
        "Modality": "SR",
        "SpecificCharacterSet": "ISO_IR 192",
        "ValueType": "CONTAINER",
        "CompletionFlag": "COMPLETE",
        "ConceptNameCodeSequence": code("Radiology Report"),
        "ContentSequence": item(ConceptNameCodeSequence=code("Findings"), ContentSequence=inner, **section),
    }
    save(set_tags(dataset, tags), folder / "0.dcm")


SEEDS: dict[str, Callable[[Path], None]] = {
    **{UID(syntax).keyword: (lambda folder, s=syntax: _classic(folder, s)) for syntax in (*NATIVE, *LOSSLESS, *LOSSY)},
    "bare": _bare,
    "implicit CT": _implicit_ct,
    "tilted CT": _tilted_ct,
    "PET": _pet,
    "echoes": _echoes,
    "enhanced MR": lambda folder: _enhanced(folder, NATIVE[1], "MR"),
    "enhanced CT implicit": lambda folder: _enhanced(folder, NATIVE[0], "CT"),
    "enhanced RLE": lambda folder: _enhanced(folder, LOSSLESS[0], "MR"),
    "enhanced JPEG-LS": lambda folder: _enhanced(folder, LOSSLESS[3], "MR"),
    "mosaic": _mosaic,
    "binary SEG": lambda folder: _segmentation(folder, "BINARY"),
    "fractional SEG": lambda folder: _segmentation(folder, "FRACTIONAL"),
    "RTSTRUCT": _structure_set,
    "SR": _structured_report,
}


def make_seeds(root: Path) -> list[Path]:
    """Write every seed below `root`; returns their folders."""
    for name, make in SEEDS.items():
        make(root / name)
    return [root / name for name in SEEDS]
