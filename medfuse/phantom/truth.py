"""What is true of the made studies: returned by `write_phantom` and stored as `truth.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

Fact = float | int | str | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTruth:
    """What is true of one study.

    Args:
        directory: Name of its folder beside `labels.csv`.
        study_instance_uid: As in its DICOM files.
        patient_id: As in its DICOM files; two studies of one patient share it.
        accession: As in its DICOM files.
        labels: Finding -> 1 or 0.
        volumes_mm3: Segment -> volume on its DICOM SEG, mm3.
        facts: What the rules of the findings are computed from, and more: age, pack-years, diameter, ...
        series: Channel -> Series Instance UID, of the series that were written.
        missing: Channels that this study lacks.
        segmentation_series: Series Instance UID of the series whose grid the SEG is on.
        has_report: Whether there is a `report.txt`.
        report_states_answer: Whether its FINDINGS and IMPRESSION give the labels away.
        compressed: Whether the images are RLE Lossless instead of Explicit VR Little Endian.
        shape: Voxels along i (columns), j (rows), k (slices).
        spacing_mm: Distance of neighbouring voxels along i, j, k.
    """

    directory: str
    study_instance_uid: str
    patient_id: str
    accession: str
    labels: Mapping[str, int]
    volumes_mm3: Mapping[str, float]
    facts: Mapping[str, Fact]
    series: Mapping[str, str]
    missing: tuple[str, ...]
    segmentation_series: str
    has_report: bool
    report_states_answer: bool
    compressed: bool
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomTruth:
    """What is true of a set of made studies.

    Args:
        family: `chest_ct`, `brain_mr` or `named_nodule`.
        seed: The seed that the files follow from.
        findings: Names of the findings, in the order of the columns of `labels.csv`.
        segments: Names of the segments; segment `n` of each SEG is `segments[n - 1]`.
        channels: Names of the image series that a complete study has.
        studies: One record a study.
    """

    family: str
    seed: int
    findings: tuple[str, ...]
    segments: tuple[str, ...]
    channels: tuple[str, ...]
    studies: tuple[StudyTruth, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return asdict(self)

    def paths(self, directory: Path) -> tuple[Path, ...]:
        """The folders of the studies under `directory`, in the order of `studies`."""
        return tuple(directory / study.directory for study in self.studies)
