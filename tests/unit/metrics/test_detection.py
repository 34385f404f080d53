import numpy as np
import pytest

from medfuse.metrics.detection import (
    Candidate,
    Detections,
    froc,
    froc_score,
    match_lesions,
    weighted_froc_score,
    weighted_lesion_sensitivity,
)

SHAPE = (20, 12, 10)


def box(*corners: tuple[int, int, int], size: int = 3) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    for corner in corners:
        mask[tuple(slice(a, a + size) for a in corner)] = True
    return mask


def test_each_lesion_is_found_once_and_candidates_are_ranked_by_volume() -> None:
    reference = box((1, 1, 1), (10, 1, 1))
    prediction = box((1, 1, 1)) | box((15, 6, 5), size=4)
    found = match_lesions(prediction, reference, voxel_volume_mm3=2.0)
    assert found.lesions == 2
    assert found.candidates == (
        Candidate(confidence=128.0, is_lesion=False),
        Candidate(confidence=54.0, is_lesion=True),
    )


def test_confidences_of_a_map_rank_the_candidates() -> None:
    prediction = box((1, 1, 1), (10, 1, 1))
    confidence = np.zeros(SHAPE)
    confidence[1, 1, 1], confidence[10, 1, 1] = 0.3, 0.8
    found = match_lesions(prediction, box((1, 1, 1)), confidence=confidence)
    assert found.candidates == (Candidate(confidence=0.8, is_lesion=False), Candidate(confidence=0.3, is_lesion=True))


def test_one_candidate_over_two_lesions_finds_one() -> None:
    reference = box((1, 1, 1), (6, 1, 1))
    prediction = np.zeros(SHAPE, bool)
    prediction[1:9, 1:4, 1:4] = True
    found = match_lesions(prediction, reference)
    assert found.lesions == 2
    assert [each.is_lesion for each in found.candidates] == [True]


def test_the_best_pairs_are_taken_together() -> None:
    """The first candidate overlaps both lesions; it is given to the one that the second cannot find."""
    reference, prediction = np.zeros((2, *SHAPE), bool)
    reference[0:4, 0, 0] = reference[5:9, 0, 0] = True
    prediction[2:7, 0, 0] = True
    prediction[8:12, 0, 0] = True
    found = match_lesions(prediction, reference, min_iou=0.1)
    assert sum(each.is_lesion for each in found.candidates) == 2


def test_an_overlap_below_the_least_is_no_find() -> None:
    reference = box((1, 1, 1), size=5)
    prediction = box((1, 1, 1), size=2)  # 8 of 125 voxels
    assert not match_lesions(prediction, reference).candidates[0].is_lesion
    assert match_lesions(prediction, reference, min_iou=0.05).candidates[0].is_lesion


def test_parts_that_touch_at_a_corner_are_one() -> None:
    prediction = np.zeros(SHAPE, bool)
    prediction[0, 0, 0] = prediction[1, 1, 1] = True
    assert len(match_lesions(prediction, np.zeros(SHAPE, bool)).candidates) == 1


def test_empty_masks() -> None:
    nothing = np.zeros(SHAPE, bool)
    assert match_lesions(nothing, nothing) == Detections(lesions=0)
    assert match_lesions(nothing, box((1, 1, 1))) == Detections(lesions=1)
    alarm = match_lesions(box((1, 1, 1)), nothing)
    assert (alarm.lesions, [each.is_lesion for each in alarm.candidates]) == (0, [False])


def made(seed: int) -> list[Detections]:
    rng = np.random.default_rng(seed)
    return [
        Detections(
            lesions=int(rng.integers(0, 4)),
            candidates=tuple(
                Candidate(confidence=float(rng.random()), is_lesion=False) for _ in range(rng.integers(0, 4))
            ),
        )
        for _ in range(8)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_resamples_are_those_of_repeated_studies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    studies = [
        Detections(
            lesions=one.lesions + 1,
            candidates=(*one.candidates, Candidate(confidence=float(rng.random()), is_lesion=True)),
        )
        for one in made(seed)
    ]
    weights = np.stack([np.bincount(rng.integers(0, 8, 8), minlength=8) for _ in range(12)]).astype(float)
    scores, found = weighted_froc_score(studies)(weights), weighted_lesion_sensitivity(studies)(weights)
    for row, score, share in zip(weights, scores, found, strict=True):
        repeated = [one for one, times in zip(studies, row, strict=True) for _ in range(int(times))]
        assert score == pytest.approx(froc_score(repeated))
        assert share == pytest.approx(len(repeated) / sum(one.lesions for one in repeated))


def test_a_curve_rises_and_begins_with_nobody() -> None:
    curve = froc([Detections(lesions=2, candidates=(Candidate(confidence=2.0, is_lesion=True),) * 2), *made(1)])
    assert (curve.false_positives[0], curve.sensitivity[0]) == (0, 0)
    assert (np.diff(curve.false_positives) >= 0).all()
    assert (np.diff(curve.sensitivity) >= 0).all()
