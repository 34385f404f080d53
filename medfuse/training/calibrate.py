"""What a trained checkpoint learns about itself: scaling, operating points, prediction sets, and what it is used to.

Everything is fitted on answers to studies that the network did not train on. A run has its validation split for that.
A cross-validation has more: each fold is calibrated on the answers of the other folds to their own test sets, so that
its own test set stays unseen, and the ensemble on the answers of all (cross-conformal prediction: V. Vovk,
"Cross-conformal predictors", Annals of Mathematics and AI 74, 2015). The weights stay as they are.
"""

import csv
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as as_bytes

from medfuse.data.cases import read_cases
from medfuse.data.samples import ASSESSED, Case
from medfuse.domain.prediction import Rejected
from medfuse.errors import ManifestError, UsageError
from medfuse.inference.conformal import ALPHA, fit_thresholds
from medfuse.inference.familiarity import FALSE_ALARMS, LEAST_HELD_OUT, LEAST_TRAINING, TrainingSet, threshold_of
from medfuse.inference.member import Member
from medfuse.ingest.manifest import ManifestRow, read_manifest, study_of
from medfuse.metrics.calibration import fit_platt, fit_temperature
from medfuse.metrics.operating_point import YOUDEN, PointRule, choose_operating_point
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import FAMILIARITY, Calibration, Checkpoint, ConformalThresholds, FamiliarityThreshold
from medfuse.preprocess import Recipe
from medfuse.preprocess.ranges import TrainingRanges, training_ranges

MOST_TRAINING = 1000
"""Training studies that the place of the training set is measured on; of more, an even choice."""

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOptions:
    """How a checkpoint is calibrated.

    Args:
        method: How logits become probabilities: one `temperature`, or Platt's line with slope and intercept.
        rule: How operating points are chosen.
        alpha: Rate of error of prediction sets.
        false_alarms: Share of held-out studies that may count as unfamiliar.
    """

    method: Literal["temperature", "platt"] = "temperature"
    rule: PointRule = YOUDEN
    alpha: float = ALPHA
    false_alarms: float = FALSE_ALARMS


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationResult:
    """What calibrating a run came to.

    Args:
        checkpoints: The checkpoints that were written anew, with what they say now.
        held_out: Studies that each was calibrated on.
        rejected: Studies of the manifest that could not be used.
    """

    checkpoints: Mapping[Path, Checkpoint]
    held_out: Mapping[Path, int]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What a network says of studies that it did not train on.

    Args:
        logits: Before calibration, shape `(n, F)`.
        labels: 1 PRESENT, 0 ABSENT, NaN not assessed, shape `(n, F)`.
        distances: To the training set, of the studies with an image.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.float64]
    distances: tuple[float, ...] = ()

    @classmethod
    def of(cls, member: Member, cases: Sequence[Case], on_case: Callable[[], None] = lambda: None) -> "Answers":
        """A member's answers to whole studies, as scoring gives them."""
        findings = member.checkpoint.label_set.findings
        logits, labels, distances = [], [], []
        for case in cases:
            answer = member.answer(case)
            logits.append(np.zeros(len(findings)) if answer.logits is None else answer.logits)
            labels.append(
                [ASSESSED.get(case.labels[name], np.nan) if name in case.labels else np.nan for name in findings]
            )
            if member.training_set is not None and (features := member.embed(case)) is not None:
                distances.append(member.training_set.distance(features))
            on_case()
        shape = (len(cases), len(findings))
        return cls(
            logits=np.asarray(logits, dtype=np.float64).reshape(shape),
            labels=np.asarray(labels, dtype=np.float64).reshape(shape),
            distances=tuple(distances),
        )


def together(parts: Sequence[Answers]) -> Answers:
    """The answers of several networks, each to studies of its own."""
    return Answers(
        logits=np.concatenate([part.logits for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        distances=tuple(distance for part in parts for distance in part.distances),
    )


def scalings(findings: Sequence[str], answers: Answers, options: CalibrationOptions) -> dict[str, Calibration]:
    """Scaling and operating point of each finding; nothing for one whose held-out studies are all alike."""
    fitted = {}
    for position, finding in enumerate(findings):
        logits, labels = _assessed(answers, position)
        if not 0 < labels.sum() < len(labels):
            fitted[finding] = Calibration()
            continue
        if options.method == "platt":
            slope, intercept = fit_platt(logits, labels)
            made = Calibration(slope=slope, intercept=intercept)
        else:
            made = Calibration(temperature=fit_temperature(logits, labels))
        point = choose_operating_point(labels, probabilities_of(made, logits), options.rule)
        fitted[finding] = replace(made, operating_point=point)
    return fitted


def probabilities_of(scaling: Calibration, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of logits, shape `(n,)`."""
    from scipy.special import expit

    return np.asarray(expit([scaling.scaled(float(logit)) for logit in logits]), dtype=np.float64)


def learn_training_set(member: Member, training: Sequence[Case], on_case: Callable[[], None] = lambda: None) -> None:
    """Give a member the place of its training studies; it keeps none where they are too few or have no image."""
    chosen = np.unique(np.linspace(0, len(training) - 1, min(len(training), MOST_TRAINING)).round().astype(int))
    features = []
    for index in chosen:
        if (one := member.embed(training[index])) is not None:
            features.append(one)
        on_case()
    enough = len(features) >= LEAST_TRAINING
    member.training_set = TrainingSet.fit(np.stack(features)) if enough else None


def finish(
    directory: Path,
    training: Sequence[Case],
    validation: Sequence[Case],
    rows: Sequence[ManifestRow],
    device: torch.device,
) -> None:
    """Add to a run's checkpoint, once it is trained: prediction sets, familiarity, and how training studies look.

    Args:
        directory: The checkpoint; its temperatures and operating points are kept.
        training: The studies that it was trained on.
        validation: Those of the validation split.
        rows: Rows of the manifest.
        device: Where the network runs.

    Raises:
        StorageError: The checkpoint cannot be written.
    """
    member = Member.load(directory, device)
    learn_training_set(member, training)
    answers = Answers.of(member, validation)
    calibration = _with_sets(member.checkpoint, member.checkpoint.calibration, answers, ALPHA)
    made = replace(member.checkpoint, calibration=calibration, ranges=_ranges(rows, training, member.checkpoint.recipe))
    _write(directory, member, made, answers.distances, FALSE_ALARMS)


@dataclass(slots=True, kw_only=True, eq=False)
class _Fold:
    """A run under way: its checkpoint, its studies, and what it says of those that it did not train on."""

    place: Path
    member: Member
    splits: Mapping[str, list[str]]
    validation: Answers
    test: Answers


def calibrate(
    run: Path,
    manifest: Path,
    options: CalibrationOptions | None = None,
    *,
    device: str = "cpu",
    on_start: Callable[[int], None] = lambda total: None,
    on_case: Callable[[], None] = lambda: None,
) -> CalibrationResult:
    """Calibrate the best checkpoint of a run anew, or of every fold of a cross-validation and the ensemble of them.

    Args:
        run: A run folder.
        manifest: The manifest that it was trained from.
        options: How; the defaults when left out.
        device: Of the network.
        on_start: Is told how many steps of about equal length there are.
        on_case: Called after each.

    Raises:
        UsageError: The folder is no run, or is one of shuffled reports.
        ManifestError: The manifest lacks studies of the run.
        StorageError: A checkpoint cannot be written; those before it are, each as a whole.
    """
    options = options or CalibrationOptions()
    found = checkpoints.fold_runs(run)
    runs = [(checkpoints.locate(one), _splits(one / "splits.csv")) for one in found or (run,)]
    first = checkpoints.describe(runs[0][0])
    _refuse_shuffled(first, run)
    rows = _rows(manifest, {uid for _, splits in runs for uids in splits.values() for uid in uids})
    answered = ("train", "validation", "test") if found else ("train", "validation")
    on_start(len(rows) + sum(min(len(splits[name]), MOST_TRAINING) for _, splits in runs for name in answered))
    case_set = read_cases(rows, first.recipe, first.label_set, on_case)
    on = torch.device(device)
    folds = [_fold(place, splits, case_set.cases, on, on_case, with_test=bool(found)) for place, splits in runs]
    written, counts = {}, {}
    for fold in folds:
        others = [other.test for other in folds if other is not fold]
        held_out = together(others) if others else fold.validation
        distances = together([fold.validation, *others]).distances
        made = _calibrated(fold, held_out, options, rows, case_set.cases)
        written[fold.place] = _write(fold.place, fold.member, made, distances, options.false_alarms)
        counts[fold.place] = len(held_out.logits)
    if found:
        checkpoints.write_ensemble(run, _of_ensemble(folds, written, options.alpha))
    return CalibrationResult(checkpoints=written, held_out=counts, rejected=case_set.rejected)


def _fold(
    place: Path,
    splits: Mapping[str, list[str]],
    cases: Mapping[str, Case],
    device: torch.device,
    on_case: Callable[[], None],
    *,
    with_test: bool,
) -> _Fold:
    member = Member.load(place, device)
    usable = {name: [cases[uid] for uid in uids if uid in cases] for name, uids in splits.items()}
    learn_training_set(member, usable["train"], on_case)
    return _Fold(
        place=place,
        member=member,
        splits=splits,
        validation=Answers.of(member, usable["validation"], on_case),
        test=Answers.of(member, usable["test"] if with_test else [], on_case),
    )


def _calibrated(
    fold: _Fold,
    held_out: Answers,
    options: CalibrationOptions,
    rows: Sequence[ManifestRow],
    cases: Mapping[str, Case],
) -> Checkpoint:
    old = fold.member.checkpoint
    scaling = scalings(old.label_set.findings, held_out, options)
    training = [cases[uid] for uid in fold.splits["train"] if uid in cases]
    return replace(
        old,
        calibration=_with_sets(old, scaling, held_out, options.alpha),
        ranges=_ranges(rows, training, old.recipe),
    )


def _with_sets(
    checkpoint: Checkpoint, scaling: Mapping[str, Calibration], answers: Answers, alpha: float
) -> dict[str, Calibration]:
    """The scaling with the thresholds of prediction sets added.

    Scaling is monotonous and moves no study's rank: that it was fitted on the same studies does the sets no harm.
    """
    fitted = {}
    for position, finding in enumerate(checkpoint.label_set.findings):
        own = scaling.get(finding, Calibration())
        logits, labels = _assessed(answers, position)
        fitted[finding] = replace(own, conformal=fit_thresholds(probabilities_of(own, logits), labels, alpha=alpha))
    return fitted


def _of_ensemble(
    folds: Sequence[_Fold], written: Mapping[Path, Checkpoint], alpha: float
) -> dict[str, ConformalThresholds]:
    """Thresholds for the mean of the folds, from what each says of its own test set."""
    fitted = {}
    for position, finding in enumerate(folds[0].member.checkpoint.label_set.findings):
        said, truth = [], []
        for fold in folds:
            logits, labels = _assessed(fold.test, position)
            said.append(probabilities_of(written[fold.place].calibration[finding], logits))
            truth.append(labels)
        fitted[finding] = fit_thresholds(np.concatenate(said), np.concatenate(truth), alpha=alpha)
    return fitted


def _assessed(answers: Answers, position: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = np.isfinite(answers.labels[:, position])
    return answers.logits[known, position], answers.labels[known, position]


def _write(
    place: Path, member: Member, checkpoint: Checkpoint, distances: Sequence[float], false_alarms: float
) -> Checkpoint:
    """Write a checkpoint anew, with the familiarity of its member where enough studies are held out."""
    if member.training_set is None or len(distances) < LEAST_HELD_OUT:
        LOG.info("too few studies with an image to tell an unfamiliar one by: no familiarity is kept")
        made = replace(checkpoint, familiarity=None)
        checkpoints.amend(place, made)
        return made
    content = as_bytes(member.training_set.tensors())
    known = FamiliarityThreshold(
        threshold=threshold_of(distances, false_alarms=false_alarms),
        false_alarms=false_alarms,
        training_studies=member.training_set.studies,
        held_out_studies=len(distances),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    made = replace(checkpoint, familiarity=known)
    checkpoints.amend(place, made, {FAMILIARITY: content})
    return made


def _ranges(rows: Sequence[ManifestRow], training: Sequence[Case], recipe: Recipe) -> TrainingRanges:
    by_uid = {row.study_instance_uid: row for row in rows}
    return training_ranges(((study_of(by_uid[case.study_instance_uid]), case.image) for case in training), recipe)


def _splits(path: Path) -> dict[str, list[str]]:
    """Split -> its studies."""
    splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                splits[line["split"]].append(line["study_instance_uid"])
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise UsageError(
            f"cannot read {path} ({type(error).__name__}); give a run folder that medfuse train wrote"
        ) from error
    return splits


def _rows(manifest: Path, wanted: set[str]) -> list[ManifestRow]:
    rows = [row for row in read_manifest(manifest) if row.study_instance_uid in wanted]
    if len(rows) < len(wanted):
        raise ManifestError(
            f"{manifest} lacks {len(wanted) - len(rows)} of the {len(wanted)} studies of the run; give the manifest "
            "that it was trained from"
        )
    return rows


def _refuse_shuffled(checkpoint: Checkpoint, run: Path) -> None:
    if (checkpoint.config.get("data") or {}).get("shuffle_reports"):
        raise UsageError(f"{run} was trained on the reports of other patients, as a control; it is not calibrated anew")
