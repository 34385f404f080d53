import numpy as np
import pytest

from medfuse.phantom.case import Case
from medfuse.phantom.chest_ct import ChestCT, malignancy_risk
from medfuse.phantom.plan import StudyPlan, plan_studies
from medfuse.phantom.shapes import equivalent_diameter_mm
from tests.unit.phantom.conftest import Made


@pytest.fixture(scope="module")
def cases() -> list[tuple[StudyPlan, Case]]:
    family = ChestCT()
    plans = plan_studies("chest_ct", studies=10, seed=21, ages=family.ages, quantities=family.quantities)
    return [(plan, family.make(plan)) for plan in plans]


def _hounsfield(case: Case) -> np.ndarray:
    series = case.series[0]
    return series.voxels.astype(np.float64) + float(series.attributes["RescaleIntercept"])


def test_grid_is_that_of_a_coarse_chest_ct(cases: list[tuple[StudyPlan, Case]]) -> None:
    for _, case in cases:
        columns, rows, slices = case.geometry.shape
        assert 64 <= columns <= 80
        assert 64 <= rows <= 80
        assert 28 <= slices <= 40
        assert case.geometry.affine.orientation == "LPS"
        assert (case.geometry.affine.spacing_mm >= (4, 4, 6)).all()
        assert (case.geometry.affine.spacing_mm <= (5, 5, 8)).all()


def test_protocols_vary(cases: list[tuple[StudyPlan, Case]]) -> None:
    assert len({case.geometry.shape for _, case in cases}) > 4
    assert {case.series[0].voxels.dtype for _, case in cases} == {np.dtype(np.int16), np.dtype(np.uint16)}
    assert {case.series[0].ascending for _, case in cases} == {True, False}
    assert len({case.series[0].attributes["ConvolutionKernel"] for _, case in cases}) > 2


def test_tissues_have_their_hounsfield_units(cases: list[tuple[StudyPlan, Case]]) -> None:
    for _, case in cases:
        values = _hounsfield(case)
        lung = values[case.label_map == 1]
        assert -900 < np.median(lung) < -750
        assert values[0, 0].mean() < -950
        centre = tuple(n // 2 for n in case.geometry.shape)
        around = values[centre[0] - 2 : centre[0] + 2, centre[1] - 12 : centre[1] - 8, 2:6]
        assert -50 < around.mean() < 120
        assert values.max() > 250


def test_a_nodule_stands_out_from_the_lung(cases: list[tuple[StudyPlan, Case]]) -> None:
    with_nodule = [case for _, case in cases if case.labels["nodule"]]
    assert with_nodule
    for case in with_nodule:
        values = _hounsfield(case)[case.label_map == 2]
        assert -300 < values.mean() < 120


def test_nodule_exists_where_the_label_says(cases: list[tuple[StudyPlan, Case]]) -> None:
    for _, case in cases:
        assert bool((case.label_map == 2).any()) == bool(case.labels["nodule"])
        assert set(np.unique(case.label_map)) <= {0, 1, 2}
        assert (case.label_map == 1).any()


def test_diameter_is_that_of_the_wanted_range(cases: list[tuple[StudyPlan, Case]]) -> None:
    for plan, case in cases:
        diameter = case.facts["nodule_diameter_mm"]
        volume = np.count_nonzero(case.label_map == 2) * case.geometry.voxel_volume_mm3
        assert diameter == pytest.approx(equivalent_diameter_mm(volume), abs=0.01)
        if diameter:
            assert 19.5 <= float(diameter) <= 42.5 * 1.15**plan.visit


def test_a_nodule_grows_until_the_second_visit(cases: list[tuple[StudyPlan, Case]]) -> None:
    plans = plan_studies("chest_ct", studies=60, seed=2, ages=(45, 82), quantities=3)
    family = ChestCT()
    later = next(p for p in plans if p.visit and p.patient.quantiles[0] < 0.4)
    earlier = next(p for p in plans if p.patient == later.patient and not p.visit)
    one, two = family.make(earlier), family.make(later)
    assert float(two.facts["nodule_diameter_mm"]) / float(one.facts["nodule_diameter_mm"]) == pytest.approx(
        1.15, abs=0.05
    )
    assert one.geometry.shape == two.geometry.shape
    assert one.facts["pack_years"] == two.facts["pack_years"]


def test_making_a_study_twice_gives_the_same(cases: list[tuple[StudyPlan, Case]]) -> None:
    plan, case = cases[3]
    again = ChestCT().make(plan)
    assert np.array_equal(again.series[0].voxels, case.series[0].voxels)
    assert np.array_equal(again.label_map, case.label_map)
    assert again.report == case.report


@pytest.mark.parametrize(
    ("diameter_mm", "pack_years", "age", "expected"),
    [
        (0.0, 60, 82, 0),
        (26.0, 0, 63, 0),
        (26.0, 28, 63, 1),
        (26.0, 27, 63, 0),
        (40.0, 0, 63, 1),
        (39.0, 0, 63, 0),
        (39.0, 0, 68, 1),
    ],
)
def test_rule_takes_the_image_and_the_text(diameter_mm: float, pack_years: int, age: int, expected: int) -> None:
    assert malignancy_risk(diameter_mm, pack_years, age) == expected


def test_labels_follow_from_the_facts(chest: Made) -> None:
    for study in chest.truth.studies:
        diameter, pack_years, age = (float(study.facts[k]) for k in ("nodule_diameter_mm", "pack_years", "age"))
        assert study.labels["nodule"] == (study.volumes_mm3["nodule"] > 0)
        assert diameter == pytest.approx(equivalent_diameter_mm(study.volumes_mm3["nodule"]), abs=0.01)
        assert study.labels["smoking_history"] == (pack_years > 0)
        assert study.labels["malignancy_risk"] == malignancy_risk(diameter, pack_years, age)
