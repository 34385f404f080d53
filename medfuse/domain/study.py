"""A study: the unit of scoring, splitting and review. Its series know where their voxels are."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from pathlib import Path

from medfuse.domain.report import Report


class Modality(StrEnum):
    """Image modalities that can become a volume (PS3.3 section C.7.3.1.1.1); everything else is `OTHER`."""

    CT = "CT"
    MR = "MR"
    PT = "PT"
    OTHER = "OT"


def pseudonym(identifier: str) -> str:
    """A stable key for a patient identifier, for splits, logs and file names; not reversible by reading it.

    A hash keeps names out of files and logs; it is no de-identification, since short identifiers can be guessed.
    """
    return hashlib.blake2b(identifier.strip().encode(), digest_size=8, person=b"medfuse-patient").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """How a series was made, as far as its headers say: what a rule may choose among series by.

    Args:
        n_slices: Number of slices of the volume; None where nobody looked.
        spacing_mm: Distance between neighbouring voxels along i, j, k in mm; None where unknown.
        thickness_mm: Slice Thickness (0018,0050).
        orientation: `axial`, `coronal` or `sagittal` by the slice normal's largest component, `oblique` when that is
            more than 25 degrees away; empty where unknown.
        frame_of_reference_uid: Frame of Reference UID (0020,0052): series that share it share one space.
        image_type: Image Type (0008,0008), upper case.
        protocol: Protocol Name (0018,1030).
        body_part: Body Part Examined (0018,0015).
        kernel: Convolution Kernel (0018,1210) of a CT.
        contrast: Contrast/Bolus Agent (0018,0010); empty for none.
        sequence: Scanning Sequence (0018,0020) and Sequence Name (0018,0024) of an MR.
        echo_time_ms: Echo Time (0018,0081).
        repetition_time_ms: Repetition Time (0018,0080).
        inversion_time_ms: Inversion Time (0018,0082).
        b_value: Diffusion b-value (0018,9087), s/mm2.
        manufacturer: Manufacturer (0008,0070).
    """

    n_slices: int | None = None
    spacing_mm: tuple[float, float, float] | None = None
    thickness_mm: float | None = None
    orientation: str = ""
    frame_of_reference_uid: str = ""
    image_type: tuple[str, ...] = ()
    protocol: str = ""
    body_part: str = ""
    kernel: str = ""
    contrast: str = ""
    sequence: str = ""
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    inversion_time_ms: float | None = None
    b_value: float | None = None
    manufacturer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderCorrection:
    """What the table of a data set says of a file better than the file's own header; it replaces what the header says.

    Args:
        source: Name of the table, for the provenance of the volume.
        spacing_mm: Distance between neighbouring voxels along i, j, k in mm; None leaves the header's.
        orientation: Image Orientation (Patient) (0020,0037): the i axis, then the j axis, LPS; the k axis is their
            cross product. None leaves the header's axes.
        position_mm: Image Position (Patient) (0020,0032): the centre of voxel `(0, 0, 0)`, LPS mm; None leaves the
            header's.
        slope: Rescale Slope (0028,1053), by which the stored values are multiplied; None for values that are final.
        intercept: Rescale Intercept (0028,1052), added behind that.
    """

    source: str
    spacing_mm: tuple[float, float, float] | None = None
    orientation: tuple[float, float, float, float, float, float] | None = None
    position_mm: tuple[float, float, float] | None = None
    slope: float | None = None
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if self.spacing_mm is not None and not all(0 < spacing < inf for spacing in self.spacing_mm):
            raise ValueError(f"spacings are above 0 mm, not {self.spacing_mm}")
        numbers = (*(self.orientation or ()), *(self.position_mm or ()), self.slope or 0.0, self.intercept)
        if not all(isfinite(number) for number in numbers) or self.slope == 0:
            raise ValueError("a correction holds finite numbers and a slope other than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One image series of a study, or one part of it, that can become one volume.

    A DICOM series that holds several volumes (echoes, phases, b-values, stacks) is one `Series` a volume; they share
    the UID and differ in `part`.

    Args:
        series_instance_uid: DICOM's UID, or one made from the path for NIfTI.
        part: Which volume of the series it is, e.g. `echo-2`; empty when the series holds one.
        modality: What made it.
        description: Series Description (0008,103E), for choosing among series; may be empty.
        number: Series Number (0020,0011), or None.
        files: The files that hold its voxels: DICOM instances in any order, or one NIfTI file.
        channel: Index into the last axis of a 4D NIfTI file, or None.
        acquisition: How it was made.
        correction: What to read in place of the header of a NIfTI file, or None.
    """

    series_instance_uid: str
    part: str = ""
    modality: Modality
    description: str = ""
    number: int | None = None
    files: tuple[Path, ...]
    channel: int | None = None
    acquisition: Acquisition = Acquisition()
    correction: HeaderCorrection | None = None

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError(f"series {self.series_instance_uid} has no files")

    @property
    def key(self) -> str:
        """What tells it from every other series of its study: the UID, and `/part` for a part of a series."""
        return f"{self.series_instance_uid}/{self.part}" if self.part else self.series_instance_uid

    @property
    def is_nifti(self) -> bool:
        """Whether the voxels come from a NIfTI file rather than from DICOM."""
        return self.files[0].name.endswith((".nii", ".nii.gz"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Everything known of one study, voxels excepted.

    Args:
        study_instance_uid: DICOM's UID, or one made from the path for NIfTI.
        patient_key: `pseudonym` of the patient identifier; splits are by it.
        accession_number: May be empty.
        path: Folder (or NIfTI file) that the study was found under.
        series: Image series that can become volumes, by series number.
        reports: Reports in the order found; empty for none.
        segmentations: Files with delineations (DICOM SEG or NIfTI label maps).
        problems: What was left out and why, one `REASON: detail` line each.
    """

    study_instance_uid: str
    patient_key: str
    accession_number: str = ""
    path: Path
    series: tuple[Series, ...] = ()
    reports: tuple[Report, ...] = ()
    segmentations: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.study_instance_uid or not self.patient_key:
            raise ValueError("a study has a UID and a patient key")
