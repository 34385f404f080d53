"""One model against another on the same studies: differences, drawn in pairs by patient.

The interval of a difference says more than two intervals that overlap: both models meet the same easy and hard
studies, and a resample takes or leaves a patient for both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import LabelValue
from medfuse.evaluation.cases import Case
from medfuse.metrics import Estimate, auroc, estimate_by_patient

TOLD = {LabelValue.PRESENT, LabelValue.ABSENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A figure of one model less the same figure of another.

    Args:
        measure: `AUROC` or `mean Dice`.
        name: The finding; empty for the mean Dice.
        estimate: The difference with its interval; above zero the first model is better.
    """

    measure: str
    name: str
    estimate: Estimate

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval leaves zero out, else `undecided`; `n/a` without an interval."""
        low, high = self.estimate.low, self.estimate.high
        if low is None or high is None:
            return "n/a"
        return "better" if low > 0 else "worse" if high < 0 else "undecided"


def compare(
    cases: Sequence[Case],
    reference: Sequence[Case],
    findings: Sequence[str],
    segments: Sequence[str],
    *,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[Difference, ...]:
    """Each finding's AUROC and the mean Dice of one model, less those of the reference, on the studies of both.

    Args:
        cases: The model's scored studies.
        reference: The reference's.
        findings: Names to compare.
        segments: Segments whose mean Dice is compared; a model that lacks one has no difference there.
        draws: Number of bootstrap resamples.
        seed: Of the resampling.
        confidence: Of the intervals.

    Source: B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 14.
    """
    theirs = {case.study_instance_uid: case for case in reference}
    pairs = [(case, theirs[case.study_instance_uid]) for case in cases if case.study_instance_uid in theirs]

    def estimate(statistic: Callable[[NDArray[np.intp]], float], used: Sequence[tuple[Case, Case]]) -> Estimate:
        return estimate_by_patient(
            statistic,
            [case.patient_key for case, _ in used],
            draws=draws,
            seed=seed,
            confidence=confidence,
            undefined="no study of both models tells it",
        )

    made = [Difference(measure="AUROC", name=name, estimate=_auroc(name, pairs, estimate)) for name in findings]
    if segments:
        made.append(Difference(measure="mean Dice", name="", estimate=_dice(segments, pairs, estimate)))
    return tuple(made)


Estimator = Callable[[Callable[[NDArray[np.intp]], float], Sequence[tuple[Case, Case]]], Estimate]


def _auroc(name: str, pairs: Sequence[tuple[Case, Case]], estimate: Estimator) -> Estimate:
    used = [pair for pair in pairs if pair[0].label(name) in TOLD and all(name in case.probabilities for case in pair)]
    truth = np.array([case.label(name) is LabelValue.PRESENT for case, _ in used], dtype=bool)
    ours, theirs = (np.array([pair[which].probabilities[name] for pair in used]) for which in (0, 1))
    return estimate(lambda index: auroc(truth[index], ours[index]) - auroc(truth[index], theirs[index]), used)


def _dice(segments: Sequence[str], pairs: Sequence[tuple[Case, Case]], estimate: Estimator) -> Estimate:
    used, values = [], []
    for pair in pairs:
        ours, theirs = (case_mean_dice(case, segments) for case in pair)
        if ours is not None and theirs is not None:
            used.append(pair)
            values.append(ours - theirs)
    differences = np.array(values)
    return estimate(lambda index: float(differences[index].mean()), used)


def case_mean_dice(case: Case, segments: Sequence[str]) -> float | None:
    """Mean Dice of a study over segments; None unless it has all of them."""
    values = [value for value in map(case.dice.get, segments) if value is not None]
    return float(np.mean(values)) if segments and len(values) == len(segments) else None
