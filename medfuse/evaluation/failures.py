"""The studies to look at: where the model was most wrong, of each kind and name the worst first."""

from collections.abc import Mapping, Sequence

from medfuse.domain import LabelSet, LabelValue, Target, TargetKind
from medfuse.evaluation.cases import Case
from medfuse.evaluation.figures import Failure

MOST = 10
"""Studies listed of each kind and name."""

LOW_DICE = 0.7
"""Studies at or above it are not listed."""


def failures_of(
    labels: LabelSet, cases: Sequence[Case], operating_points: Mapping[str, float | None]
) -> tuple[Failure, ...]:
    """The failures of every finding, segment and target.

    Args:
        labels: What is predicted.
        cases: The scored studies.
        operating_points: Finding -> threshold, for cases without one of their own; 0.5 where there is none.
    """
    found: list[Failure] = []
    for name in labels.findings:
        found += _of_finding(name, cases, operating_points.get(name))
    for name in labels.segments:
        found += _of_segment(name, cases)
    for target in labels.targets:
        found += _of_target(target, cases)
    return tuple(found)


def _of_finding(name: str, cases: Sequence[Case], of_all: float | None) -> list[Failure]:
    missed, alarms = [], []
    for case in cases:
        probability = case.probabilities.get(name)
        point = case.operating_points.get(name, 0.5 if of_all is None else of_all)
        if probability is None:
            continue
        if case.label(name) is LabelValue.PRESENT and probability < point:
            missed.append((probability, point, case))
        elif case.label(name) is LabelValue.ABSENT and probability >= point:
            alarms.append((probability, point, case))
    missed.sort(key=lambda each: (each[0] - each[1], each[2].study_instance_uid))
    alarms.sort(key=lambda each: (each[1] - each[0], each[2].study_instance_uid))
    return [
        Failure(
            study_instance_uid=case.study_instance_uid,
            kind=kind,
            name=name,
            value=probability,
            told=f"probability {probability:.3f}, called from {point:.3f}, truth {case.label(name)}",
        )
        for kind, listed in (("missed", missed), ("false alarm", alarms))
        for probability, point, case in listed[:MOST]
    ]


def _of_segment(name: str, cases: Sequence[Case]) -> list[Failure]:
    known = [(dice, case) for case in cases if (dice := case.dice.get(name)) is not None and dice < LOW_DICE]
    known.sort(key=lambda each: (each[0], each[1].study_instance_uid))
    words = {"prediction": ", nothing was predicted", "reference": ", nothing is in the reference"}
    return [
        Failure(
            study_instance_uid=case.study_instance_uid,
            kind="low Dice",
            name=name,
            value=dice,
            told=f"Dice {dice:.3f}" + words.get(case.empty_masks.get(name, ""), ""),
        )
        for dice, case in known[:MOST]
    ]


def _of_target(target: Target, cases: Sequence[Case]) -> list[Failure]:
    wrong = []
    for case in cases:
        answer, truth = case.targets.get(target.name), case.target_values.get(target.name)
        if answer is None or truth is None:
            continue
        if target.kind is TargetKind.NUMBER:
            value = float("nan") if answer.value is None else answer.value
            unit = f" {target.unit}" if target.unit else ""
            wrong.append((abs(value - truth), f"{value:g}{unit}, truth {truth:g}{unit}", case))
            continue
        true_class, said = target.classes[int(truth)], answer.most_probable
        if said != true_class:
            of_truth = answer.probabilities[int(truth)]
            wrong.append((1 - of_truth, f"{said}, truth {true_class} had probability {of_truth:.3f}", case))
    wrong.sort(key=lambda each: (-each[0], each[2].study_instance_uid))
    kind = "large error" if target.kind is TargetKind.NUMBER else "wrong class"
    return [
        Failure(study_instance_uid=case.study_instance_uid, kind=kind, name=target.name, value=value, told=told)
        for value, told, case in wrong[:MOST]
    ]
