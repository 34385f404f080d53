"""Small reviews for the tests: folders of results without images, and a folder of studies with two readers' masks."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from medfuse.domain import (
    Familiarity,
    Finding,
    LabelSet,
    LabelValue,
    ModelIdentity,
    Prediction,
    QualityFlag,
    Rejected,
    Scored,
    SegmentVolume,
    Subject,
    SubjectKind,
    Target,
    TargetKind,
    TargetPrediction,
)
from medfuse.outputs import ScoreTable, write_prediction
from medfuse.review import Desk, Reader, ReadingRoom, Role, local_reader, open_room

LABELS = LabelSet(
    findings=("lung_nodule", "effusion"),
    segments=("nodule",),
    targets=(
        Target(name="grade", kind=TargetKind.GRADES, classes=("low", "high")),
        Target(name="age", kind=TargetKind.NUMBER, unit="a"),
    ),
)
MODEL = ModelIdentity(name="m", version="1", weights_sha256="ab" * 32, config_sha256="cd" * 32)
NODULE = Subject(kind=SubjectKind.FINDING, name="lung_nodule")
EFFUSION = Subject(kind=SubjectKind.FINDING, name="effusion")
OUTLINE = Subject(kind=SubjectKind.SEGMENT, name="nodule")
WHOLE = Subject()
READER = local_reader("Dr. Ames")
GRADE = TargetPrediction(
    name="grade", kind=TargetKind.GRADES, classes=("low", "high"), probabilities=(0.7, 0.3), value=0.3
)
AGE = TargetPrediction(name="age", kind=TargetKind.NUMBER, value=71.0, unit="a")


def prediction(
    number: int,
    nodule: float,
    effusion: float = 0.1,
    *,
    quality: tuple[str, ...] = (),
    unfamiliar: bool = False,
    unsure: bool = False,
    created_at: str = "2026-01-02T03:04:05+00:00",
) -> Prediction:
    """The answer on study `1.2.<number>`, accession `A<number>`; operating point 0.5."""
    both = (LabelValue.PRESENT, LabelValue.ABSENT)
    return Prediction(
        study_instance_uid=f"1.2.{number}",
        accession_number=f"A{number}",
        model=MODEL,
        findings=(
            Finding(
                name="lung_nodule", probability=nodule, operating_point=0.5, prediction_set=both if unsure else None
            ),
            Finding(name="effusion", probability=effusion, operating_point=0.5),
        ),
        segment_volumes=(SegmentVolume(name="nodule", volume_mm3=10.0 * number),),
        series_used={"ct": f"1.2.{number}.1"},
        created_at=created_at,
        quality=tuple(QualityFlag(code=code, detail="odd") for code in quality),
        familiarity=Familiarity(distance=9.0, threshold=1.0) if unfamiliar else None,
        targets=(GRADE, AGE),
    )


def rejected(number: int) -> Rejected:
    """Study `1.2.<number>` without a result."""
    return Rejected(
        study_instance_uid=f"1.2.{number}", accession_number=f"A{number}", reason="MIXED_PATIENTS", detail="two"
    )


def write_results(folder: Path, *outcomes: Prediction | Rejected, patients: dict[int, str] | None = None) -> Path:
    """A folder of results; `patients` gives study numbers their patient."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = {f"1.2.{number}": {"path": "gone", "patient_key": key} for number, key in (patients or {}).items()}
    with ScoreTable(folder / "scores.csv", LABELS) as table:
        for outcome in outcomes:
            if isinstance(outcome, Rejected):
                table.append(outcome)
                continue
            table.append(Scored(prediction=outcome))
            write_prediction(outcome, folder / outcome.study_instance_uid / "prediction.json")
    (folder / "sources.json").write_text(json.dumps(sources))
    return folder


def opened(folder: Path, **options: object) -> ReadingRoom:
    """The review of a folder, its worklist up to date."""
    room = open_room(folder, **options)  # type: ignore[arg-type]
    room.refresh()
    return room


def desk_of(folder: Path, reader: Reader = READER, **options: object) -> Desk:
    """A desk in the review of a folder."""
    return opened(folder, **options).desk(reader)


def handle_of(desk: Desk, number: int) -> str:
    """The handle of study `1.2.<number>`, by its accession number."""
    return next(row.handle for row in desk.page(limit=500).rows if row.accession_number == f"A{number}")


def reader(name: str, *projects: str, role: Role = Role.READER) -> Reader:
    """A reader of projects."""
    return Reader(name=name, email=f"{name}@example.org", role=role, projects=projects)


def write_users(folder: Path, text: str) -> Path:
    """A users file."""
    path = folder / "users.yaml"
    path.write_text(text)
    return path


def write_studies(folder: Path, n: int = 2) -> Path:
    """A folder of NIfTI studies, each with a mask of its own and a report."""
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(n):
        values = np.random.default_rng(number).normal(0, 1, (6, 5, 4)).astype(np.float32)
        labels = np.zeros((6, 5, 4), dtype=np.uint8)
        labels[2:4, 2:4, 1:3] = 1
        nib.save(nib.Nifti1Image(values, affine), folder / "images" / f"case{number}.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), folder / "labels" / f"case{number}.nii.gz")
        (folder / "images" / f"case{number}.txt").write_text("FINDINGS: No lung nodule. Small effusion.\n")
    return folder
