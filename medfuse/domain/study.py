"""A study: the unit of scoring, splitting and review. Its series know where their voxels are."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
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
class Series:
    """One image series of a study that can become one volume.

    Args:
        series_instance_uid: DICOM's UID, or one made from the path for NIfTI.
        modality: What made it.
        description: Series Description (0008,103E), for choosing among series; may be empty.
        number: Series Number (0020,0011), or None.
        files: The files that hold its voxels: DICOM instances in any order, or one NIfTI file.
        channel: Index into the last axis of a 4D NIfTI file, or None.
    """

    series_instance_uid: str
    modality: Modality
    description: str = ""
    number: int | None = None
    files: tuple[Path, ...]
    channel: int | None = None

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError(f"series {self.series_instance_uid} has no files")

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
