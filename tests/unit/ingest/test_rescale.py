"""Which scale holds for a frame, and whether CT values can be Hounsfield units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medfuse.domain import Acquisition
from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import Facts, Frame
from medfuse.ingest.dicom.rescale import check_hounsfield, frame_scales, is_hounsfield


def frames(*scales: tuple[float, float], modality: str = "MR", maker: str = "Philips") -> list[Frame]:
    facts = Facts(modality=modality, acquisition=Acquisition(manufacturer=maker))
    return [
        Frame(
            path=Path(f"{n}"),
            position_mm=(0, 0, n),
            orientation=(1, 0, 0, 0, 1, 0),
            spacing_mm=(1, 1),
            shape=(2, 2),
            slope=slope,
            intercept=intercept,
            facts=facts,
        )
        for n, (slope, intercept) in enumerate(scales)
    ]


def private(slope: float, intercept: float = 0.0) -> Dataset:
    dataset = Dataset()
    dataset.add_new((0x2005, 0x10), "LO", "Philips MR Imaging DD 001")
    dataset.add_new((0x2005, 0x100D), "FL", intercept)
    dataset.add_new((0x2005, 0x100E), "FL", slope)
    return dataset


def headers(*made: Any) -> dict[Path, Any]:
    return {Path(f"{n}"): one for n, one in enumerate(made)}


def test_one_private_scale_is_recorded_and_not_applied() -> None:
    scales, notes = frame_scales(frames((2, 1), (2, 1)), headers(private(0.5, 3), private(0.5, 3)))
    assert scales == [(2, 1), (2, 1)]
    assert notes == ("Philips' private scale slope (2005,100E) is 0.5, intercept (2005,100D) 3; not applied.",)


def test_private_scales_that_differ_are_applied() -> None:
    """Floating-point value = (stored x slope + intercept) / (slope x scale slope)."""
    scales, notes = frame_scales(frames((2, 8), (4, 8)), headers(private(0.5), private(0.25)))
    assert scales == [(2, 8), (4, 8)]
    assert "differs between slices and was applied" in notes[0]
    stored = 100
    for (slope, intercept), (own, scale) in zip(scales, [(2, 0.5), (4, 0.25)], strict=True):
        assert stored * slope + intercept == (stored * own + 8) / (own * scale)


def test_private_scales_count_for_mr_of_philips_alone() -> None:
    for how in ({"modality": "CT"}, {"maker": "GE"}):
        assert frame_scales(frames((2, 1), **how), headers(private(0.5))) == ([(2, 1)], ())


def test_the_scale_of_an_enhanced_frame_stands_in_its_private_item() -> None:
    group, header = Dataset(), Dataset()
    group.add_new((0x2005, 0x14), "LO", "Philips MR Imaging DD 005")
    group.add_new((0x2005, 0x140F), "SQ", Sequence([private(0.125)]))
    header.PerFrameFunctionalGroupsSequence = Sequence([group])
    assert "0.125" in frame_scales(frames((1, 0)), headers(header))[1][0]


def test_rescales_that_differ_are_said() -> None:
    _, notes = frame_scales(frames((2, 1), (3, 1), maker="GE"), headers({}, {}))
    assert notes == ("Rescale differs between slices and was applied slice by slice.",)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"RealWorldValueSlope": 2.0, "RealWorldValueIntercept": 7.0}, "slope 2, intercept 7"),
        ({"RealWorldValueLUTData": [1, 2]}, "by a table"),
    ],
)
def test_a_real_world_value_map_is_recorded(mapping: dict[str, Any], said: str) -> None:
    for header in (
        {"RealWorldValueMappingSequence": [mapping]},
        {"SharedFunctionalGroupsSequence": [{"RealWorldValueMappingSequence": [mapping]}]},
    ):
        scales, (note,) = frame_scales(frames((1, 0), maker="GE"), headers(header))
        assert scales == [(1, 0)]
        assert said in note


@pytest.mark.parametrize(("kind", "is_hu"), [(None, True), ("HU", True), ("US", True), ("Z_EFF", False), ("ED", False)])
def test_a_rescale_type_of_another_quantity(kind: str | None, is_hu: bool) -> None:
    assert is_hounsfield({"RescaleType": kind}) == is_hu


def head(shift: float = 0.0, noise: float = 10.0, bone: float = 1100.0) -> NDArray[np.float32]:
    """A head of brain and bone in air."""
    i, j = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    radius = np.hypot(i, j)
    plane = np.where(radius < 0.6, 35.0, np.where(radius < 0.65, bone, -1000.0))
    planes = plane + noise * np.random.default_rng(1).standard_normal((5, 64, 64))
    return np.asarray(np.maximum(planes, -1024) + shift, dtype=np.float32)


def padded(planes: NDArray[np.float32], value: float) -> NDArray[np.float32]:
    planes = planes.copy()
    planes[:, :12, :] = value
    return planes


PLAUSIBLE = {
    "head": head(),
    "head with padding": padded(head(), -3024),
    "head with padding of -2000": padded(head(), -2000),
    "cut to -1024 by the scanner": head(noise=0),
    "shifted up": head(1024),
    "constant": np.full((2, 4, 4), -2000, dtype=np.float32),
    "lung with padding": padded(np.clip(head(), -1000, 60), -2048),
}


@pytest.mark.parametrize("case", PLAUSIBLE)
def test_real_hounsfield_units_pass(case: str) -> None:
    check_hounsfield(PLAUSIBLE[case])


@pytest.mark.parametrize("planes", [head(-1024), head(-1024, noise=0, bone=500), head(-1000)])
def test_values_rescaled_twice_are_refused(planes: NDArray[np.float32]) -> None:
    with pytest.raises(UnreadableSeriesError) as caught:
        check_hounsfield(planes)
    assert caught.value.reason == "HU_IMPLAUSIBLE"
