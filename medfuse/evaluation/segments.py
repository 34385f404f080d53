"""The figures of one segment."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from medfuse.evaluation.cases import Case, Volumes
from medfuse.evaluation.compare import case_mean_dice
from medfuse.evaluation.figures import BlandAltman, Curve, DetectionFigures, SegmentFigures
from medfuse.evaluation.resampling import Resampling
from medfuse.metrics import Estimate
from medfuse.metrics.agreement import limits_of_agreement
from medfuse.metrics.detection import froc, froc_score, weighted_froc_score, weighted_lesion_sensitivity
from medfuse.metrics.weighted import weighted_mean

NO_DELINEATION = "no study has a delineation of it"


def segment_figures(
    name: str, cases: Sequence[Case], resampling: Resampling, *, tolerance_mm: float | None, lesions: bool
) -> SegmentFigures:
    """Everything that is measured of one segment.

    Args:
        name: Of the segment.
        cases: All cases.
        resampling: How intervals are made.
        tolerance_mm: Of the surface Dice; None to leave it out.
        lesions: Whether its connected parts are lesions to be found one by one.
    """
    empty = Counter(case.empty_masks.get(name) for case in cases)
    dice = segment_dice(name, cases, resampling)
    return SegmentFigures(
        name=name,
        dice=dice,
        hd95_mm=resampling.mean([(case, case.hd95_mm.get(name)) for case in cases], NO_DELINEATION),
        both_empty=empty["both"],
        missed=empty["prediction"],
        invented=empty["reference"],
        without_reference=len(cases) - dice.n,
        tolerance_mm=tolerance_mm,
        surface_dice=None if tolerance_mm is None else segment_surface_dice(name, cases, resampling, tolerance_mm),
        volume_error_mm3=_of_volumes(name, cases, resampling, lambda v: v.predicted_mm3 - v.reference_mm3),
        volume_absolute_error_mm3=_of_volumes(
            name, cases, resampling, lambda v: abs(v.predicted_mm3 - v.reference_mm3)
        ),
        volume_relative_error=_of_volumes(name, cases, resampling, _relative),
        volume_agreement=_volume_agreement(name, cases),
        detection=_detection(name, cases, resampling) if lesions else None,
    )


def segment_dice(name: str, cases: Sequence[Case], resampling: Resampling) -> Estimate:
    """The mean Dice of one segment over the cases that have it."""
    return resampling.mean([(case, case.dice.get(name)) for case in cases], NO_DELINEATION)


def segment_surface_dice(name: str, cases: Sequence[Case], resampling: Resampling, tolerance_mm: float) -> Estimate:
    """The mean surface Dice of one segment over the cases that have it."""
    pairs = [(case, case.surface_dice.get(name, {}).get(tolerance_mm)) for case in cases]
    return resampling.mean(pairs, NO_DELINEATION)


def mean_dice(segments: Sequence[str], cases: Sequence[Case], resampling: Resampling) -> Estimate | None:
    """Mean over cases of the mean over segments, for cases that have all of them; None for no segments."""
    if not segments:
        return None
    return resampling.mean([(case, case_mean_dice(case, segments)) for case in cases], NO_DELINEATION)


def bland_altman(studies: Sequence[str], truth: Sequence[float], predicted: Sequence[float]) -> BlandAltman | None:
    """Bland and Altman's data of predicted and true numbers; None without a study."""
    limits = limits_of_agreement(truth, predicted)
    if limits is None:
        return None
    pairs = list(zip(truth, predicted, strict=True))
    return BlandAltman(
        studies=tuple(studies),
        mean=tuple((said + true) / 2 for true, said in pairs),
        difference=tuple(said - true for true, said in pairs),
        bias=limits.bias,
        low=limits.low,
        high=limits.high,
    )


def _relative(volumes: Volumes) -> float | None:
    """Predicted less true volume by the true one; None where there is none to divide by."""
    true = volumes.reference_mm3
    return (volumes.predicted_mm3 - true) / true if true > 0 else None


def _of_volumes(
    name: str, cases: Sequence[Case], resampling: Resampling, measure: Callable[[Volumes], float | None]
) -> Estimate:
    pairs = [(case, measure(case.volumes[name]) if name in case.volumes else None) for case in cases]
    return resampling.mean(pairs, NO_DELINEATION)


def _volume_agreement(name: str, cases: Sequence[Case]) -> BlandAltman | None:
    known = [(case.study_instance_uid, case.volumes[name]) for case in cases if name in case.volumes]
    return bland_altman(
        [uid for uid, _ in known], [v.reference_mm3 for _, v in known], [v.predicted_mm3 for _, v in known]
    )


def _detection(name: str, cases: Sequence[Case], resampling: Resampling) -> DetectionFigures:
    used = [case for case in cases if name in case.detections]
    studies = [case.detections[name] for case in used]
    false_positives = np.array([sum(not c.is_lesion for c in one.candidates) for one in studies], dtype=np.float64)
    curve = froc(studies)
    none = "no study has a lesion"
    return DetectionFigures(
        studies=len(used),
        lesions=sum(one.lesions for one in studies),
        candidates=sum(len(one.candidates) for one in studies),
        sensitivity=resampling.weigh(weighted_lesion_sensitivity(studies), used, none),
        false_positives=resampling.weigh(weighted_mean(false_positives), used, NO_DELINEATION),
        froc_score=resampling.weigh(weighted_froc_score(studies), used, none, froc_score(studies)),
        curve=None
        if curve is None
        else Curve(x=tuple(curve.false_positives.tolist()), y=tuple(curve.sensitivity.tolist())),
    )
