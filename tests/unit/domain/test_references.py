import numpy as np
import pytest

from medfuse.domain import Affine, Segment, Segmentation, VolumeGeometry
from medfuse.domain.references import match_segments, reference_masks

GRID = VolumeGeometry(shape=(2, 2, 2), affine=Affine(np.eye(4)))


def regions(*names: str) -> tuple[Segment, ...]:
    return tuple(Segment(number=n, name=name) for n, name in enumerate(names, start=1))


def delineation(*names: str, at: int = 0) -> Segmentation:
    label_map = np.zeros((2, 2, 2), np.uint8)
    for n in range(1, len(names) + 1):
        label_map[at, n % 2, n // 2 % 2] = n
    return Segmentation(label_map=label_map, geometry=GRID, segments=regions(*names))


@pytest.mark.parametrize(
    ("named", "segments", "expected"),
    [
        (("tumour", "liver"), ("liver", "tumour"), {"liver": 2, "tumour": 1}),
        (("Left_Lung",), ("left lung",), {"left lung": 1}),
        (("Anterior", "Posterior"), ("anterior hippocampus", "posterior hippocampus"),
         {"anterior hippocampus": 1, "posterior hippocampus": 2}),
        (("hippocampus",), ("anterior hippocampus", "posterior hippocampus"), {}),
        (("lung",), ("lesion",), {}),
        (("left lung", "right lung"), ("lung",), {}),
        (("lung", "left lung"), ("lung",), {"lung": 1}),
        (("1", "2"), ("a", "b"), {"a": 1, "b": 2}),
        (("Segment 1", "segment 2", "Segment_3"), ("a", "b"), {"a": 1, "b": 2}),
        (("1",), ("a", "b"), {"a": 1}),
        (("1", "lung"), ("lung", "b"), {"lung": 2}),
        ((), ("a",), {}),
    ],
)  # fmt: skip
def test_names_decide_and_nothing_is_guessed(
    named: tuple[str, ...], segments: tuple[str, ...], expected: dict[str, int]
) -> None:
    assert match_segments(regions(*named), segments) == expected


def test_the_first_delineation_that_holds_a_segment_gives_it() -> None:
    first, second = delineation("left", at=0), delineation("left", "right", at=1)
    masks = reference_masks([first, second], ("left", "right"))
    assert np.array_equal(masks["left"], first.label_map == 1)
    assert np.array_equal(masks["right"], second.label_map == 2)


def test_a_segment_that_a_delineation_of_the_model_lacks_is_empty() -> None:
    masks = reference_masks([delineation("left")], ("left", "right"))
    assert masks["left"].any()
    assert not masks["right"].any()


def test_an_empty_label_map_says_that_there_is_nothing() -> None:
    for names in ((), ("lesion",)):
        empty = Segmentation(label_map=np.zeros((2, 2, 2)), geometry=GRID, segments=regions(*names))
        assert not reference_masks([empty], ("lesion",))["lesion"].any()


def test_no_delineation_and_one_of_other_regions_say_nothing() -> None:
    assert reference_masks([], ("lesion",)) == {}
    assert reference_masks([delineation("lung")], ("lesion",)) == {}
