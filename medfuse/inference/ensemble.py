"""Several members, one answer: means of what they say, and how far they are apart."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, pstdev

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.prediction import Evidence, Finding, ModelIdentity, TargetPrediction
from medfuse.errors import CheckpointError
from medfuse.heads.targets import mean_prediction
from medfuse.inference.conformal import prediction_set, union
from medfuse.inference.findings import heaviest
from medfuse.inference.member import Answer
from medfuse.inference.ranked import RankedScores, mean_ranked
from medfuse.model.checkpoint import Checkpoint, ConformalThresholds


def check_alike(checkpoints: Sequence[Checkpoint]) -> None:
    """See that members predict the same from the same input.

    Raises:
        CheckpointError: Two have another label set, recipe or set of modalities.
    """
    first = checkpoints[0]
    for number, other in enumerate(checkpoints[1:], start=1):
        differs = [name for name in ("label_set", "recipe") if getattr(other, name) != getattr(first, name)]
        sees, first_sees = ((one.spec.image is not None, one.spec.text is not None) for one in (other, first))
        differs += [] if sees == first_sees else ["modalities"]
        if differs:
            raise CheckpointError(
                f"member {number} of the ensemble differs from member 0 in its {' and '.join(differs)}; "
                "an ensemble is of runs that predict the same from the same input: train the folds from one config"
            )


def combined_identity(identities: Sequence[ModelIdentity]) -> ModelIdentity:
    """The identity of an ensemble: that of its one member, or the common name with hashes over the members' hashes."""
    if len(identities) == 1:
        return identities[0]
    return replace(
        identities[0],
        weights_sha256=_hash_over(one.weights_sha256 for one in identities),
        config_sha256=_hash_over(one.config_sha256 for one in identities),
        leakage_allowed=any(one.leakage_allowed for one in identities),
    )


def merge(answers: Iterable[Answer], thresholds: Mapping[str, ConformalThresholds] | None = None) -> Answer:
    """The mean of several answers' probabilities, targets and class scores, taken one by one: one volume is in memory.

    The answers are those of members, of augmented views, or of both. A finding's operating point is the mean of their
    own; it is calibrated when every one is. Its `spread` is the standard deviation of their probabilities (of the
    population, not of a sample); None for a single answer. Its prediction set follows from `thresholds`, else it is
    what any of them cannot rule out.

    Args:
        answers: One or more.
        thresholds: Of the mean's own prediction sets, by finding.
    """
    findings: list[tuple[Finding, ...]] = []
    targets: list[tuple[TargetPrediction, ...]] = []
    alone: Answer | None = None
    scores: NDArray[np.float32] | None = None
    ranked: list[RankedScores] = []
    for answer in answers:
        alone = answer if not findings else None
        findings.append(answer.findings)
        targets.append(answer.targets)
        if isinstance(answer.class_scores, RankedScores):
            ranked.append(answer.class_scores)
        elif answer.class_scores is not None:
            scores = answer.class_scores if scores is None else scores + answer.class_scores
    if alone is not None:
        return alone
    mean_scores = mean_ranked(ranked) if ranked else None if scores is None else scores / np.float32(len(findings))
    return Answer(
        findings=tuple(_mean(said, (thresholds or {}).get(said[0].name)) for said in zip(*findings, strict=True)),
        class_scores=mean_scores,
        targets=tuple(mean_prediction(said) for said in zip(*targets, strict=True)),
    )


def _mean(said: Sequence[Finding], thresholds: ConformalThresholds | None) -> Finding:
    probabilities = [finding.probability for finding in said]
    points = [finding.operating_point for finding in said if finding.operating_point is not None]
    probability = min(1.0, fmean(probabilities))
    own = None if thresholds is None else prediction_set(probability, thresholds)
    return Finding(
        name=said[0].name,
        probability=probability,
        operating_point=fmean(points) if points else None,
        calibrated=all(finding.calibrated for finding in said),
        evidence=_mean_evidence(said),
        spread=pstdev(probabilities),
        prediction_set=union([finding.prediction_set for finding in said]) if own is None else own,
    )


def _mean_evidence(said: Sequence[Finding]) -> tuple[Evidence, ...]:
    weights: dict[tuple[int, int], float] = {}
    for finding in said:
        for word in finding.evidence:
            weights[word.start, word.end] = weights.get((word.start, word.end), 0.0) + word.weight
    return heaviest(weights)


def _hash_over(hashes: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
