"""Segments that overlap, and segments that are unions of what delineations name."""

import numpy as np
import pytest

from medfuse.domain import Affine, LabelSet, Region, Segment, Segmentation, VolumeGeometry
from medfuse.domain.references import reference_masks

GRID = VolumeGeometry(shape=(5, 1, 1), affine=Affine(np.diag([2.0, 1.0, 1.0, 1.0])))
BRATS = LabelSet(
    segments=("whole tumor", "tumor core", "enhancing tumor"),
    regions=(
        Region(segment="whole tumor", parts=("edema", "necrosis", "enhancing tumor")),
        Region(segment="tumor core", parts=("necrosis", "enhancing tumor")),
    ),
    overlapping=True,
)


def column(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.uint8).reshape(5, 1, 1)


def named(*names: str) -> tuple[Segment, ...]:
    return tuple(Segment(number=n, name=name) for n, name in enumerate(names, start=1))


def delineation(numbers: np.ndarray, *names: str) -> Segmentation:
    return Segmentation(label_map=numbers, geometry=GRID, segments=named(*names))


def test_a_segment_without_a_region_is_called_by_its_own_name() -> None:
    assert BRATS.parts["enhancing tumor"] == ("enhancing tumor",)
    assert BRATS.parts["tumor core"] == ("necrosis", "enhancing tumor")
    assert BRATS.channels == 3
    assert LabelSet(segments=("a", "b")).channels == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overlapping": False}, "several segments hold enhancing tumor, necrosis; set overlapping: true"),
        ({"segments": ("whole tumor",), "overlapping": True}, r"regions name \['tumor core'\], which segments lack"),
        ({"regions": (*BRATS.regions, BRATS.regions[0])}, "regions must name a segment once"),
        ({"segments": tuple("abcdefgh"), "regions": ()}, "at most 7 segments may overlap, not 8"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    kept: dict[str, object] = {"segments": BRATS.segments, "regions": BRATS.regions, "overlapping": True}
    with pytest.raises(ValueError, match=message):
        LabelSet(**(kept | changes))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs parts, each named once"):
        Region(segment="a", parts=("b", "b"))


def test_a_union_without_overlaps_needs_no_bits() -> None:
    labels = LabelSet(
        segments=("kidneys",), regions=(Region(segment="kidneys", parts=("left kidney", "right kidney")),)
    )
    made = delineation(column(0, 1, 2, 3, 0), "left kidney", "right kidney", "liver")
    masks = reference_masks([made], labels.segments, labels.parts)
    assert masks["kidneys"].ravel().tolist() == [False, True, True, False, False]
    assert labels.channels == 2


def test_a_segment_is_the_union_of_its_parts() -> None:
    made = delineation(column(0, 1, 2, 3, 0), "necrosis", "edema", "enhancing tumor")
    masks = reference_masks([made], BRATS.segments, BRATS.parts)
    assert [masks[name].ravel().tolist() for name in BRATS.segments] == [
        [False, True, True, True, False],
        [False, True, False, True, False],
        [False, False, False, True, False],
    ]
    without = reference_masks([delineation(column(0, 1, 0, 0, 0), "edema")], BRATS.segments, BRATS.parts)
    assert {name: int(mask.sum()) for name, mask in without.items()} == {
        "whole tumor": 1,
        "tumor core": 0,
        "enhancing tumor": 0,
    }
    assert reference_masks([delineation(column(0, 1, 0, 0, 0), "liver")], BRATS.segments, BRATS.parts) == {}


def test_overlaps_are_kept_and_painted_with_the_later_on_top() -> None:
    made = Segmentation.overlapping(column(0, 0b001, 0b011, 0b111, 0b101), GRID, named(*BRATS.segments))
    assert made.label_map.ravel().tolist() == [0, 1, 2, 3, 3]
    assert [made.mask(segment).ravel().tolist() for segment in made.segments] == [
        [False, True, True, True, True],
        [False, False, True, True, False],
        [False, False, False, True, True],
    ]
    assert [made.volume_mm3(segment) for segment in made.segments] == [8, 4, 4]
    again = reference_masks([made], BRATS.segments)
    assert again["whole tumor"].sum() == 4


def test_a_label_map_alone_reads_the_same() -> None:
    made = delineation(column(0, 1, 2, 2, 0), "a", "b")
    assert made.overlaps is None
    assert [made.mask(segment).sum() for segment in made.segments] == [1, 2]
    assert made.volume_mm3(made.segments[1]) == 4


def test_overlaps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="a bit that no segment has"):
        Segmentation(
            label_map=column(0, 0, 0, 0, 0), geometry=GRID, segments=named("a"), overlaps=column(0, 2, 0, 0, 0)
        )
    with pytest.raises(ValueError, match="do not fill the grid"):
        Segmentation(label_map=column(0, 0, 0, 0, 0), geometry=GRID, segments=named("a"), overlaps=np.zeros((1, 1, 1)))
    made = Segmentation.overlapping(column(0, 1, 0, 0, 0), GRID, named("a"))
    assert made.overlaps is not None
    with pytest.raises(ValueError, match="read-only"):
        made.overlaps[0] = 1
