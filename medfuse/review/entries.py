"""Files -> rows of the worklist: from a folder of results, or from a folder of studies."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from medfuse.domain import Prediction, Rejected, Study
from medfuse.errors import MedfuseError, StudyError
from medfuse.ingest.nifti import nifti_series
from medfuse.outputs import ScoreRow, study_folder
from medfuse.review.index import IndexEntry
from medfuse.review.pages import NO_STUDY
from medfuse.review.results import PREDICTION_FILE, Results
from medfuse.review.triage import Triage, findings_of, triage_of

INPUT, OUTPUT = "input", "output"
"""What a measure is of: what came in, or what the model said."""


def listed_results(results: Results) -> list[tuple[ScoreRow, str]]:
    """Each row of a folder of results, with a fingerprint that changes when it or its prediction does."""
    listed = []
    for position, row in enumerate(results.scores):
        prediction = _stat(results.directory, row.study_instance_uid)
        fingerprint = hashlib.sha256(repr((position, row, prediction)).encode()).hexdigest()
        listed.append((row, fingerprint))
    return listed


def key_of(row: ScoreRow, position: int) -> str:
    """The key of a row in the index: its UID, or a made one for files of no study."""
    return row.study_instance_uid or f"{NO_STUDY}{position}"


def result_entry(
    results: Results, row: ScoreRow, position: int, fingerprint: str, patient_keys: Mapping[str, str]
) -> IndexEntry:
    """The worklist's row of a study of a folder of results."""
    prediction = _prediction(results, row)
    findings = tuple(prediction.findings) if prediction else ()
    triage, without = triage_of(row, prediction), row.status == "rejected"
    return IndexEntry(
        study_instance_uid=key_of(row, position),
        position=position,
        patient_key=patient_keys.get(row.study_instance_uid, ""),
        accession_number=row.accession_number,
        reason=(row.reason or "NOT_SCORED") if without else "",
        model=row.model,
        modalities=tuple(channel.upper() for channel in prediction.series_used) if prediction else (),
        findings=findings or findings_of(row),
        triage=triage,
        measures=_measures(results, row, prediction),
        scored_at=prediction.created_at if prediction else "",
        fingerprint=fingerprint,
    )


def study_entry(study: Study, position: int, fingerprint: str) -> IndexEntry:
    """The worklist's row of a study that no model answered."""
    n_masks, n_reports = len(study.segmentations), len(study.reports)
    reason = f"{_number(n_masks, 'existing mask')}, {_number(n_reports, 'report')}; no model has answered."
    flags = tuple(sorted({line.split(":", 1)[0] for line in study.problems}))
    return IndexEntry(
        study_instance_uid=study.study_instance_uid,
        position=position,
        patient_key=study.patient_key,
        accession_number=study.accession_number,
        modalities=tuple(dict.fromkeys(series.modality.value for series in study.series)),
        triage=Triage(priority=float(n_masks), reason=reason, flags=flags),
        n_delineations=n_masks,
        measures=_spacing(study.series[0].acquisition.spacing_mm) if study.series else {},
        fingerprint=fingerprint,
    )


def rejected_entry(rejected: Rejected, position: int, fingerprint: str) -> IndexEntry:
    """The worklist's row of files that a scan could not use, so that they are seen."""
    return IndexEntry(
        study_instance_uid=rejected_key(rejected, position),
        position=position,
        accession_number=rejected.accession_number,
        reason=rejected.reason,
        triage=Triage(priority=0.0, reason=f"Cannot be opened: {rejected.reason}."),
        fingerprint=fingerprint,
    )


def rejected_key(rejected: Rejected, position: int) -> str:
    """The key of unusable files in the index: their study's UID, or a made one for files of no study."""
    return rejected.study_instance_uid or f"{NO_STUDY}{position}"


def study_fingerprint(study: Study) -> str:
    """Changes when the files of a study do."""
    told = (study.series, study.segmentations, study.reports, study.problems, study.accession_number)
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _prediction(results: Results, row: ScoreRow) -> Prediction | None:
    """The whole answer; None where it cannot be read, which the case says when it is opened."""
    if row.status != "scored":
        return None
    try:
        return results.prediction(row.study_instance_uid)
    except MedfuseError:
        return None


def _measures(results: Results, row: ScoreRow, prediction: Prediction | None) -> dict[str, tuple[str, float]]:
    """The numbers of a study that drift is looked for in."""
    measures = {
        f"probability {name}": (OUTPUT, value) for name, value in row.probabilities.items() if value is not None
    }
    measures |= {f"volume {name} mm3": (OUTPUT, value) for name, value in row.volumes_mm3.items() if value is not None}
    if prediction is None:
        return measures
    measures["characters of text"] = (INPUT, float(len(prediction.text_input)))
    measures["missing inputs"] = (INPUT, float(len(prediction.missing)))
    if prediction.familiarity is not None:
        measures["distance to the training set"] = (INPUT, prediction.familiarity.distance)
    label_map = results.segmentation(row.study_instance_uid) if row.volumes_mm3 else None
    return measures | (_spacing_of(label_map) if label_map else {})


def _spacing_of(label_map: Path) -> dict[str, tuple[str, float]]:
    """The spacing of the images, by the header of the label map that is on their grid."""
    try:
        return _spacing(nifti_series(label_map)[0].acquisition.spacing_mm)
    except StudyError:
        return {}


def _spacing(spacing_mm: tuple[float, float, float] | None) -> dict[str, tuple[str, float]]:
    if spacing_mm is None:
        return {}
    return {"spacing in the slice mm": (INPUT, spacing_mm[0]), "spacing of slices mm": (INPUT, spacing_mm[2])}


def _stat(directory: Path, study_instance_uid: str) -> tuple[int, int] | None:
    """Time and size of a prediction; None where there is none."""
    try:
        status = (study_folder(directory, study_instance_uid) / PREDICTION_FILE).stat()
    except (OSError, StudyError):
        return None
    return status.st_mtime_ns, status.st_size


def _number(n: int, noun: str) -> str:
    return f"{n or 'no'} {noun}{'' if n == 1 else 's'}"
