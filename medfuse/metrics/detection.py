"""Lesions found and candidates that are none (FROC).

Lesions and candidates are the connected parts of two masks (26 neighbours). A candidate finds a lesion when their
intersection over union is at least `MIN_IOU`; each finds one at most, so that the sum of the overlaps is largest. A
label map holds no confidence of its own, so that candidates are ranked by their volume unless confidences are given.

Source: Metrics Reloaded (Maier-Hein et al., Nature Methods 21, 2024) for localisation by overlap and one-to-one
assignment; MONAI's `compute_froc_curve_data` and `compute_froc_score` (after CAMELYON16) for the curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.metrics.weighted import WeightedStatistic, Weights

MIN_IOU = 0.1
FALSE_POSITIVES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives a study at which the FROC score averages the sensitivity (LUNA16)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One connected part of a predicted mask: how sure, and whether it is a lesion."""

    confidence: float
    is_lesion: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What was found in one study.

    Args:
        lesions: Number of lesions in the reference.
        candidates: Every candidate, the most confident first.
    """

    lesions: int
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Froc:
    """Lesion sensitivity against false positives a study, one point a confidence, ascending."""

    false_positives: NDArray[np.float64]
    sensitivity: NDArray[np.float64]


def match_lesions(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    *,
    voxel_volume_mm3: float = 1.0,
    confidence: NDArray[np.floating] | None = None,
    min_iou: float = MIN_IOU,
) -> Detections:
    """Lesions and candidates of one study.

    Args:
        prediction: Shape `(I, J, K)`.
        reference: The same shape.
        voxel_volume_mm3: Of a voxel.
        confidence: The same shape; a candidate's is its largest. None: a candidate's is its volume, mm3.
        min_iou: Least intersection over union.
    """
    from scipy.ndimage import find_objects, generate_binary_structure, label, maximum
    from scipy.optimize import linear_sum_assignment

    either = prediction | reference
    if not either.any():
        return Detections(lesions=0)
    near = find_objects(either.view(np.uint8))[0]
    prediction, reference = prediction[near], reference[near]
    touching = generate_binary_structure(3, 3)
    parts, candidates = label(prediction, touching)
    truths, lesions = label(reference, touching)
    sizes = np.bincount(parts.ravel(), minlength=candidates + 1)[1:]
    if confidence is None:
        sure = sizes * voxel_volume_mm3
    else:
        sure = np.asarray(maximum(confidence[near], parts, range(1, candidates + 1)), dtype=np.float64)
    found = np.zeros(candidates, dtype=bool)
    if candidates and lesions:
        pairs = parts.astype(np.int64) * (lesions + 1) + truths
        both = np.bincount(pairs.ravel(), minlength=(candidates + 1) * (lesions + 1))
        both = both.reshape(candidates + 1, lesions + 1)[1:, 1:]
        union = sizes[:, None] + np.bincount(truths.ravel(), minlength=lesions + 1)[1:] - both
        overlap = both / union
        rows, columns = linear_sum_assignment(np.where(overlap >= min_iou, overlap, 0.0), maximize=True)
        found[rows] = overlap[rows, columns] >= min_iou
    ranked = np.argsort(-sure, kind="stable")
    return Detections(
        lesions=int(lesions),
        candidates=tuple(Candidate(confidence=float(sure[n]), is_lesion=bool(found[n])) for n in ranked),
    )


def froc(studies: Sequence[Detections]) -> Froc | None:
    """The curve over studies; None without a lesion, or without a candidate."""
    from monai.metrics.froc import compute_froc_curve_data

    lesions = sum(one.lesions for one in studies)
    confidence, is_lesion, _ = _flat(studies)
    if not lesions or not confidence.size:
        return None
    lower = confidence.min() - 1.0  # MONAI leaves out the lowest of all confidences, which is to count here
    false_positives, sensitivity = compute_froc_curve_data(
        fp_probs=np.append(confidence[~is_lesion], lower),
        tp_probs=np.append(confidence[is_lesion], lower),
        num_targets=lesions,
        num_images=len(studies),
    )
    points = sorted({(float(x), float(y)) for x, y in zip(false_positives, sensitivity, strict=True)})
    return Froc(false_positives=np.array([x for x, _ in points]), sensitivity=np.array([y for _, y in points]))


def froc_score(studies: Sequence[Detections], at: Sequence[float] = FALSE_POSITIVES) -> float:
    """Mean sensitivity at `at` false positives a study, between points in a straight line; NaN without a lesion."""
    if not sum(one.lesions for one in studies):
        return float("nan")
    return float(weighted_froc_score(studies, at)(np.ones((1, len(studies))))[0])


def weighted_froc_score(studies: Sequence[Detections], at: Sequence[float] = FALSE_POSITIVES) -> WeightedStatistic:
    """`froc_score` of resamples of the studies."""
    confidence, is_lesion, study = _flat(studies)
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.diff(confidence[order], append=-np.inf))
    lesions = np.array([one.lesions for one in studies], dtype=np.float64)

    def of(weights: Weights) -> NDArray[np.float64]:
        each = weights[:, study[order]]
        hits = np.cumsum(each * is_lesion[order], axis=1)[:, ends]
        misses = np.cumsum(each * ~is_lesion[order], axis=1)[:, ends]
        total, images = weights @ lesions, weights.sum(axis=1)
        scores = np.full(len(weights), np.nan)
        for row in np.flatnonzero((total > 0) & (images > 0)):
            x = np.append(0.0, misses[row] / images[row])
            y = np.append(0.0, hits[row] / total[row])
            scores[row] = np.interp(at, x, y).mean()
        return scores

    return of


def weighted_lesion_sensitivity(studies: Sequence[Detections]) -> WeightedStatistic:
    """Share of the lesions that a candidate of any confidence finds, of resamples of the studies."""
    lesions = np.array([one.lesions for one in studies], dtype=np.float64)
    found = np.array([sum(c.is_lesion for c in one.candidates) for one in studies], dtype=np.float64)

    def of(weights: Weights) -> NDArray[np.float64]:
        total = weights @ lesions
        share: NDArray[np.float64] = np.full(len(weights), np.nan)
        np.divide(weights @ found, total, out=share, where=total > 0)
        return share

    return of


def _flat(studies: Sequence[Detections]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp]]:
    """Confidence, whether it is a lesion, and the study of every candidate."""
    every = [(one.confidence, one.is_lesion, n) for n, study in enumerate(studies) for one in study.candidates]
    return (
        np.array([confidence for confidence, _, _ in every], dtype=np.float64),
        np.array([is_lesion for _, is_lesion, _ in every], dtype=bool),
        np.array([n for _, _, n in every], dtype=np.intp),
    )
