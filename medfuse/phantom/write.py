"""Write a set of made studies, whole or not at all."""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from medfuse.errors import StorageError, UsageError
from medfuse.phantom.brain_mr import BrainMR
from medfuse.phantom.case import Case, Family, MadeSeries
from medfuse.phantom.chest_ct import ChestCT
from medfuse.phantom.dicom import study_header, write_segmentation, write_series
from medfuse.phantom.named_nodule import NamedNodule
from medfuse.phantom.plan import StudyPlan, plan_studies
from medfuse.phantom.truth import PhantomTruth, StudyTruth
from medfuse.seeding import stream

FAMILIES: dict[str, Family] = {"chest_ct": ChestCT(), "brain_mr": BrainMR(), "named_nodule": NamedNodule()}


def write_phantom(
    family: Literal["chest_ct", "brain_mr", "named_nodule"],
    directory: Path,
    *,
    studies: int,
    seed: int,
    on_study: Callable[[int], None] | None = None,
) -> PhantomTruth:
    """Make studies with known truth and write them as DICOM, byte for byte the same for the same seed.

    Gives one folder a study (image files under shuffled names without suffix, `seg.dcm`, mostly a `report.txt`),
    `labels.csv` and `truth.json`. The set is written aside and appears whole.

    Args:
        family: Which kind of study.
        directory: Where to; it must not exist or be empty.
        studies: How many, at least 1.
        seed: At least 0.
        on_study: Called after each study with the number of studies written so far.

    Raises:
        UsageError: The family is unknown, a number is out of range, or the directory holds something.
        StorageError: The files cannot be written.
    """
    kind = FAMILIES.get(family)
    if kind is None:
        raise UsageError(f"unknown phantom family {family!r}; known: {', '.join(sorted(FAMILIES))}")
    if studies < 1 or seed < 0:
        raise UsageError(f"a phantom set needs studies >= 1 and seed >= 0, not studies={studies}, seed={seed}")
    try:
        return _written_aside(kind, directory, studies, seed, on_study)
    except OSError as error:
        raise StorageError(f"cannot write phantom studies to {directory}: {error.strerror or error}") from error


def _written_aside(
    kind: Family, directory: Path, studies: int, seed: int, on_study: Callable[[int], None] | None
) -> PhantomTruth:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is not an empty folder; name a new one or empty it")
    aside = directory.parent / f".{directory.name}.{os.getpid()}.partial"
    aside.mkdir(parents=True)
    try:
        truth = _write_all(kind, aside, studies, seed, on_study)
        aside.replace(directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return truth


def _write_all(
    kind: Family, root: Path, studies: int, seed: int, on_study: Callable[[int], None] | None
) -> PhantomTruth:
    plans = plan_studies(kind.name, studies=studies, seed=seed, ages=kind.ages, quantities=kind.quantities)
    records = []
    for done, plan in enumerate(plans, start=1):
        records.append(_write_study(kind, root / plan.directory, plan))
        if on_study is not None:
            on_study(done)
    truth = PhantomTruth(
        family=kind.name,
        seed=seed,
        findings=kind.findings,
        segments=tuple(segment.name for segment in kind.segments),
        channels=kind.channels,
        studies=tuple(records),
    )
    _write_synced(root / "labels.csv", _labels_csv(truth))
    _write_synced(root / "truth.json", json.dumps(truth.as_dict(), indent=1) + "\n")
    return truth


def _write_study(kind: Family, folder: Path, plan: StudyPlan) -> StudyTruth:
    case = kind.make(plan)
    header = study_header(plan, description=kind.study_description)
    places = _places(folder, case, plan)
    for series in case.series:
        write_series(places[series.channel], series, geometry=case.geometry, header=header, plan=plan)
    sources = places[case.reference]
    write_segmentation(folder / "seg.dcm", case, segments=kind.segments, sources=sources, plan=plan)
    if plan.has_report:
        (folder / "report.txt").write_text(case.report, encoding="utf-8")
    return _truth(kind, case, plan)


def _places(folder: Path, case: Case, plan: StudyPlan) -> dict[str, list[Path]]:
    """Where each slice of each series goes: in one folder or one a series, under names that say nothing."""
    rng = stream(plan.seed, "names", plan.key)
    apart = bool(rng.integers(2))
    count = sum(series.voxels.shape[2] for series in case.series)
    names = iter(rng.permutation(count).tolist())
    places = {}
    for series in case.series:
        inside = folder / _series_folder(series, plan) if apart else folder
        inside.mkdir(parents=True, exist_ok=True)
        places[series.channel] = [inside / f"{next(names):05d}" for _ in range(series.voxels.shape[2])]
    return places


def _series_folder(series: MadeSeries, plan: StudyPlan) -> str:
    return f"{stream(plan.seed, 'folder', plan.key, series.channel).integers(16**6):06x}"


def _truth(kind: Family, case: Case, plan: StudyPlan) -> StudyTruth:
    voxel = case.geometry.voxel_volume_mm3
    di, dj, dk = case.geometry.affine.spacing_mm
    return StudyTruth(
        directory=plan.directory,
        study_instance_uid=plan.uid("study"),
        patient_id=plan.patient.identifier,
        accession=plan.accession,
        labels=dict(case.labels),
        volumes_mm3={
            s.name: round(int(np.count_nonzero(case.label_map == s.number)) * voxel, 3) for s in kind.segments
        },
        facts=dict(case.facts),
        series={series.channel: plan.uid("series", series.channel) for series in case.series},
        missing=case.missing,
        segmentation_series=plan.uid("series", case.reference),
        has_report=plan.has_report,
        report_states_answer=plan.states_answer,
        compressed=plan.compressed,
        shape=case.geometry.shape,
        spacing_mm=(round(float(di), 6), round(float(dj), 6), round(float(dk), 6)),
    )


def _labels_csv(truth: PhantomTruth) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["patient_id", "accession", "study_instance_uid", *truth.findings])
    for study in truth.studies:
        values = [study.labels[finding] for finding in truth.findings]
        table.writerow([study.patient_id, study.accession, study.study_instance_uid, *values])
    return text.getvalue()


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
