"""Measuring a trained run: its split, the manifest's truth, a scorer; a bad study is listed and the others go on."""

import csv
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medfuse.data.shuffle import other_patients
from medfuse.domain import (
    LabelSet,
    ModelIdentity,
    Prediction,
    Rejected,
    Scored,
    Segmentation,
    Study,
    VolumeGeometry,
)
from medfuse.domain.references import reference_masks
from medfuse.errors import CheckpointError, ManifestError, StudyError, UsageError
from medfuse.evaluation.cases import Case, Volumes
from medfuse.evaluation.evaluate import TOLERANCE_MM, Subject
from medfuse.ingest import read_segmentation
from medfuse.ingest.manifest import ManifestRow, read_manifest, study_of
from medfuse.metrics import EmptyMask, dice
from medfuse.metrics.detection import Detections, match_lesions
from medfuse.metrics.segmentation import surface_distances
from medfuse.metrics.weighted import log_odds
from medfuse.preprocess import Recipe
from medfuse.preprocess.text import text_input

_LOG = logging.getLogger(__name__)
_SPLIT_COLUMNS = ("study_instance_uid", "patient_key", "split")
_SHOWN = 3
TOLERANCES_MM = (1.0, TOLERANCE_MM, 3.0, 5.0)
"""At which the surface Dice is always kept, so that another tolerance needs no network."""

_IGNORED = re.compile(r"(?:segment|label|class|region)?[\s_-]*255", re.IGNORECASE)
"""Names of a region that has none but the number by which label maps leave voxels out."""


class Scorer(Protocol):
    """What predicts: `medfuse.inference.Predictor`, or anything else that keeps this."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model it is."""
        ...

    @property
    def label_set(self) -> LabelSet:
        """What it predicts."""
        ...

    def predict(self, study: Study) -> Scored:
        """Score a study.

        Raises:
            StudyError: The study cannot be scored.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """The studies to measure on.

    Args:
        split: Name of the split.
        rows: Their manifest rows, in the order of the run's split file.
        patient_keys: The patient of each.
        labelled: Findings that the manifest has a column or value for, in any row.
        manifest_sha256: Hash of the manifest file, hex.
        without: Inputs that are kept from the model.
        reports_from: Study -> the study whose reports it is read with, for a control; empty for its own.
        tolerances_mm: At which the surface Dice is made.
        targeted: Targets that the manifest has a value for, in any row.
    """

    split: str
    rows: tuple[ManifestRow, ...]
    patient_keys: tuple[str, ...]
    labelled: frozenset[str]
    manifest_sha256: str
    without: tuple[str, ...] = ()
    reports_from: Mapping[str, str] = field(default_factory=dict)
    tolerances_mm: tuple[float, ...] = TOLERANCES_MM
    targeted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What scoring a set gave: cases, rejected studies, and what the figures need to know of the model."""

    cases: tuple[Case, ...]
    rejected: tuple[Rejected, ...]
    subject: Subject


def read_split(run: Path, manifest: Path, split: str) -> EvaluationSet:
    """The studies of one split of a run, with their rows of a manifest.

    Args:
        run: A run folder of `medfuse train`; `splits.csv` in it is read.
        manifest: A manifest that holds the studies.
        split: `train`, `validation` or `test`.

    Raises:
        UsageError: The run has no such split, or a patient of it is in another split too.
        ManifestError: The manifest lacks studies of the split.
    """
    told = read_splits(run / "splits.csv")
    chosen = {uid: patient for uid, patient, name in told if name == split}
    if not chosen:
        known = ", ".join(sorted({name for _, _, name in told})) or "none"
        raise UsageError(f"{run / 'splits.csv'} has no study of split {split!r}; it has: {known}")
    shared = set(chosen.values()) & {patient for _, patient, name in told if name != split}
    if shared:
        raise UsageError(f"{run / 'splits.csv'}: {len(shared)} patients of {split!r} are in another split too")
    rows = {row.study_instance_uid: row for row in read_manifest(manifest)}
    missing = [uid for uid in chosen if uid not in rows]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else "")
        raise ManifestError(
            f"{manifest} lacks {len(missing)} of {len(chosen)} studies of split {split!r}: {shown}; "
            "give the manifest that the run was trained from"
        )
    return EvaluationSet(
        split=split,
        rows=tuple(rows[uid] for uid in chosen),
        patient_keys=tuple(chosen.values()),
        labelled=frozenset(finding for row in rows.values() for finding in row.labels),
        targeted=frozenset(target for row in rows.values() for target in row.targets),
        manifest_sha256=hashlib.sha256(manifest.read_bytes()).hexdigest(),
    )


def shuffle_reports(chosen: EvaluationSet, recipe: Recipe, seed: int) -> EvaluationSet:
    """The same studies, each to be read with the reports of another patient; one without text stays without.

    Args:
        chosen: The studies.
        recipe: Says what of a report is text.
        seed: Of the run that was trained so.
    """
    patients = {
        row.study_instance_uid: patient
        for row, patient in zip(chosen.rows, chosen.patient_keys, strict=True)
        if _has_text(row, recipe)
    }
    return replace(chosen, reports_from=other_patients(patients, seed, chosen.split))


def _has_text(row: ManifestRow, recipe: Recipe) -> bool:
    try:
        return bool(text_input(study_of(row), recipe))
    except StudyError:
        return False


def collect_cases(
    scorer: Scorer,
    chosen: EvaluationSet,
    *,
    augmentations: int = 0,
    on_study: Callable[[], None] | None = None,
) -> Collected:
    """Score the studies of a set and lay them beside their truth.

    Segments are compared on the source grid, to which the delineations of the study are brought.

    Args:
        scorer: The model.
        chosen: What to measure on.
        augmentations: Number of test-time augmentations of each answer, which the scorer was made with.
        on_study: Called after each study.

    Raises:
        CheckpointError: The manifest lacks labels of a finding of the model, or no delineation names its segments.
    """
    _check_findings(scorer.label_set, chosen)
    cases: list[Case] = []
    rejected: list[Rejected] = []
    predictions: list[Prediction] = []
    delineated: set[str] = set()
    rows = {row.study_instance_uid: row for row in chosen.rows}
    lines = {} if augmentations else calibration_lines(scorer)
    for row, patient_key in zip(chosen.rows, chosen.patient_keys, strict=True):
        try:
            study = study_of(row)
            if (donor := chosen.reports_from.get(row.study_instance_uid)) is not None:
                study = replace(study, reports=study_of(rows[donor]).reports)
            scored = scorer.predict(study)
            cases.append(case_of(scored, study, row, patient_key, scorer.label_set, chosen.tolerances_mm, lines))
        except StudyError as error:
            rejected.append(_rejected(row, error))
        else:
            predictions.append(scored.prediction)
            delineated.update(str(path) for path in study.segmentations if scored.segmentation is not None)
        if on_study is not None:
            on_study()
    _check_segments(scorer.label_set, cases, len(delineated))
    subject = replace(_subject(scorer, chosen, predictions), augmentations=augmentations)
    return Collected(cases=tuple(cases), rejected=tuple(rejected), subject=subject)


def case_of(
    scored: Scored,
    study: Study,
    row: ManifestRow,
    patient_key: str,
    label_set: LabelSet,
    tolerances_mm: Sequence[float] = TOLERANCES_MM,
    lines: Mapping[str, tuple[float, float]] | None = None,
) -> Case:
    """One scored study beside its truth.

    Voxels that a delineation leaves open, in a region named `ignore` or numbered 255, take no part.

    Args:
        scored: What the model says.
        study: The study, with its delineations.
        row: Its labels and targets.
        patient_key: Pseudonymous.
        label_set: What the model predicts.
        tolerances_mm: At which the surface Dice is made.
        lines: Finding -> slope and intercept by which its logit became a log-odds; absent where that is not known.

    Raises:
        StudyError: A delineation of the study cannot be read.
        ManifestError: The row holds a value that a target of the label set does not take.
    """
    said = scored.prediction
    overlaps = _overlaps(scored, study, label_set, tolerances_mm)
    nothing: dict[str, float | None] = dict.fromkeys(label_set.segments)
    return Case(
        study_instance_uid=row.study_instance_uid,
        patient_key=patient_key,
        probabilities={finding.name: finding.probability for finding in said.findings},
        labels=dict(row.labels),
        dice=nothing | {name: each.dice for name, each in overlaps.items()},
        hd95_mm=nothing | {name: each.hd95_mm for name, each in overlaps.items()},
        empty_masks={name: each.empty for name, each in overlaps.items() if each.empty is not None},
        uncalibrated={
            finding.name: _before(finding.probability, *lines[finding.name])
            for finding in said.findings
            if lines and finding.name in lines
        },
        spread={finding.name: finding.spread for finding in said.findings if finding.spread is not None},
        prediction_sets={f.name: f.prediction_set for f in said.findings if f.prediction_set is not None},
        surface_dice={name: each.surface_dice for name, each in overlaps.items()},
        volumes={name: each.volumes for name, each in overlaps.items()},
        detections={name: each.detections for name, each in overlaps.items()},
        targets={target.name: target for target in said.targets},
        target_values=_target_values(row, label_set),
        familiarity=said.familiarity,
        missing=said.missing,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overlap:
    """One segment of a study against its reference."""

    dice: float
    hd95_mm: float
    empty: EmptyMask | None
    surface_dice: dict[float, float]
    volumes: Volumes
    detections: Detections


def _overlaps(scored: Scored, study: Study, label_set: LabelSet, tolerances_mm: Sequence[float]) -> dict[str, _Overlap]:
    """Segment -> how it agrees with its reference, on the source grid."""
    predicted, segments = scored.segmentation, label_set.segments
    if predicted is None or not segments:
        return {}
    on = predicted.geometry
    delineations = [read_segmentation(path, on=on) for path in study.segmentations]
    references = reference_masks(delineations, segments, label_set.parts)
    known = _known_voxels(delineations, [*segments, *(part for parts in label_set.parts.values() for part in parts)])
    by_name = {segment.name: segment for segment in predicted.segments}
    found = {}
    for name in segments:
        if name not in references or name not in by_name:
            continue
        mask, reference = predicted.mask(by_name[name]), references[name]
        if known is not None:
            mask, reference = mask & known, reference & known
        found[name] = _overlap(mask, reference, on, tolerances_mm)
    return found


def _known_voxels(delineations: Sequence[Segmentation], names: Sequence[str]) -> NDArray[np.bool_] | None:
    """The voxels that take part; None when all do. Regions of the names given are known whatever their number."""
    from medfuse.data.cases import unknown_voxels
    from medfuse.tensors import IGNORED

    unknown = unknown_voxels(delineations, names)
    for delineation in delineations:
        for region in delineation.segments:
            if region.number == IGNORED and _IGNORED.fullmatch(region.name.strip()) and region.name not in names:
                here = delineation.label_map == IGNORED
                unknown = here if unknown is None else unknown | here
    return None if unknown is None else ~unknown


def _overlap(
    mask: NDArray[np.bool_], reference: NDArray[np.bool_], on: VolumeGeometry, tolerances_mm: Sequence[float]
) -> _Overlap:
    distances = surface_distances(mask, reference, on)
    voxel = on.voxel_volume_mm3
    return _Overlap(
        dice=dice(mask, reference),
        hd95_mm=distances.hd95_mm,
        empty=distances.empty,
        surface_dice={tolerance: distances.surface_dice(tolerance) for tolerance in tolerances_mm},
        volumes=Volumes(predicted_mm3=int(mask.sum()) * voxel, reference_mm3=int(reference.sum()) * voxel),
        detections=match_lesions(mask, reference, voxel_volume_mm3=voxel),
    )


def _target_values(row: ManifestRow, label_set: LabelSet) -> dict[str, float]:
    """Target -> its truth, as a number."""
    values = {}
    for target in label_set.targets:
        if target.name in row.targets:
            try:
                values[target.name] = target.number_of(row.targets[target.name])
            except ValueError as error:
                raise ManifestError(f"study {row.study_instance_uid}, target {target.name}: {error}") from error
    return values


def calibration_lines(scorer: Scorer) -> dict[str, tuple[float, float]]:
    """Finding -> slope and intercept from its logit to the log-odds of its probability, for a scorer of one checkpoint.

    Empty for an ensemble, whose probabilities are means, and for a scorer without a checkpoint.
    """
    checkpoint = getattr(scorer, "checkpoint", None)
    if checkpoint is None or getattr(scorer, "is_ensemble", False):
        return {}
    lines = {}
    for name, fitted in checkpoint.calibration.items():
        slope = getattr(fitted, "slope", None)
        if slope is not None:
            lines[name] = (float(slope), float(getattr(fitted, "intercept", None) or 0.0))
        elif fitted.temperature is not None:
            lines[name] = (1.0 / float(fitted.temperature), 0.0)
    return lines


def _before(probability: float, slope: float, intercept: float) -> float:
    """The probability before scaling: the sigmoid of the logit itself."""
    from scipy.special import expit

    logit = (float(log_odds(probability)) - intercept) / slope
    return float(expit(logit))


def _subject(scorer: Scorer, chosen: EvaluationSet, predictions: Iterable[Prediction]) -> Subject:
    findings = [finding for prediction in predictions for finding in prediction.findings]
    return Subject(
        label_set=scorer.label_set,
        split=chosen.split,
        operating_points={finding.name: finding.operating_point for finding in findings},
        calibrated=frozenset(finding.name for finding in findings if finding.calibrated),
        model=scorer.identity,
        manifest_sha256=chosen.manifest_sha256,
        without=chosen.without,
        shuffled_reports=bool(chosen.reports_from),
    )


def read_splits(path: Path) -> list[tuple[str, str, str]]:
    """`(study_instance_uid, patient_key, split)` of each line of a run's split file.

    Raises:
        UsageError: It is no split file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lacking = [column for column in _SPLIT_COLUMNS if column not in (reader.fieldnames or ())]
            if lacking:
                raise UsageError(f"{path} lacks the column {', '.join(lacking)}; it is no split file of medfuse train")
            return [(line["study_instance_uid"], line["patient_key"], line["split"]) for line in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read {path} ({type(error).__name__}); RUN is a folder that medfuse train wrote"
        ) from error


def _check_findings(label_set: LabelSet, chosen: EvaluationSet) -> None:
    lacking = [name for name in label_set.findings if name not in chosen.labelled]
    lacking += [target.name for target in label_set.targets if target.name not in chosen.targeted]
    if lacking:
        found = ", ".join(sorted(chosen.labelled | chosen.targeted)) or "none"
        raise CheckpointError(
            f"the model predicts {', '.join(lacking)}, of which the manifest has no labels; it has: {found}; "
            "give the manifest of this label set (medfuse index --labels)"
        )


def _check_segments(label_set: LabelSet, cases: Sequence[Case], delineations: int) -> None:
    compared = any(value is not None for case in cases for value in case.dice.values())
    if label_set.segments and delineations and cases and not compared:
        raise CheckpointError(
            f"none of {delineations} delineations names a segment of the model ({', '.join(label_set.segments)}); "
            "give the manifest of this label set"
        )


def _rejected(row: ManifestRow, error: StudyError) -> Rejected:
    _LOG.warning("study %s rejected: %s: %s", row.study_instance_uid, error.reason, error.detail)
    return Rejected(
        study_instance_uid=row.study_instance_uid,
        accession_number=row.accession_number,
        reason=error.reason,
        detail=error.detail,
    )
