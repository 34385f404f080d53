"""Several members, one answer: means of what they say, and how far they are apart."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean, pstdev

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.prediction import Evidence, Finding, ModelIdentity
from medfuse.errors import CheckpointError
from medfuse.inference.findings import heaviest
from medfuse.inference.member import Answer
from medfuse.model.checkpoint import Checkpoint


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


def merge(answers: Iterable[Answer]) -> Answer:
    """The mean of the members' probabilities and of their class scores, taken one by one: one volume is in memory.

    A finding's operating point is the mean of the members' own; it is calibrated when every member's is. Its `spread`
    is the standard deviation of the members' probabilities (of the population, not of a sample); None for one member.
    """
    findings: list[tuple[Finding, ...]] = []
    total: NDArray[np.float32] | None = None
    for answer in answers:
        findings.append(answer.findings)
        if answer.class_scores is not None:
            total = answer.class_scores if total is None else total + answer.class_scores
    if len(findings) == 1:
        return Answer(findings=findings[0], class_scores=total)
    return Answer(
        findings=tuple(_mean(said) for said in zip(*findings, strict=True)),
        class_scores=None if total is None else total / np.float32(len(findings)),
    )


def _mean(said: Sequence[Finding]) -> Finding:
    probabilities = [finding.probability for finding in said]
    points = [finding.operating_point for finding in said if finding.operating_point is not None]
    return Finding(
        name=said[0].name,
        probability=min(1.0, fmean(probabilities)),
        operating_point=fmean(points) if points else None,
        calibrated=all(finding.calibrated for finding in said),
        evidence=_mean_evidence(said),
        spread=pstdev(probabilities),
    )


def _mean_evidence(said: Sequence[Finding]) -> tuple[Evidence, ...]:
    weights: dict[tuple[int, int], float] = {}
    for finding in said:
        for word in finding.evidence:
            weights[word.start, word.end] = weights.get((word.start, word.end), 0.0) + word.weight
    return heaviest(weights)


def _hash_over(hashes: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
