"""Missing slices, interpolated."""

from pathlib import Path

import numpy as np
import pytest

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import Frame
from medfuse.ingest.dicom.gaps import check_fillable, fill_gaps
from medfuse.ingest.dicom.stack import Stack, make_stack


def stack(places: list[int]) -> Stack:
    frames = [
        Frame(
            path=Path(f"{k}"),
            position_mm=(0.0, 0.0, 2.0 * k),
            orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
            spacing_mm=(1.0, 1.0),
            shape=(2, 3),
        )
        for k in places
    ]
    return make_stack(frames, allow_gaps=True)


def test_a_slice_between_is_the_weighted_mean_of_its_neighbours() -> None:
    planes = np.array([0, 10, 40, 0], dtype=np.float32)[:, None, None] * np.ones((4, 2, 3), dtype=np.float32)
    whole, note = fill_gaps(planes, stack([0, 1, 4, 5]))
    np.testing.assert_allclose(whole[:, 0, 0], [0, 10, 20, 30, 40, 0])
    np.testing.assert_array_equal(whole[[0, 1, 4, 5]], planes)
    assert note == "Filled in 2 missing slices of 6 by linear interpolation (number 3, 4)."


def test_a_long_list_is_cut() -> None:
    places = [0, *range(1, 40, 2), 40]
    planes = np.zeros((len(places), 2, 3), dtype=np.float32)
    assert fill_gaps(planes, stack(places))[1].endswith("(number 3, 5, 7, 9, 11, 13, 15, 17 and others).")


@pytest.mark.parametrize(("places", "fillable"), [([0, 1, 3], True), ([0, 1, 2, 5], True), ([0, 1, 6], False)])
def test_most_of_a_volume_is_never_made_up(places: list[int], fillable: bool) -> None:
    if fillable:
        check_fillable(stack(places))
        return
    with pytest.raises(UnreadableSeriesError) as caught:
        check_fillable(stack(places))
    assert caught.value.reason == "MISSING_SLICES"
