import numpy as np
import pytest

from medfuse.phantom.brain_mr import DESCRIPTIONS, BrainMR, high_grade_risk
from medfuse.phantom.case import Case, MadeSeries
from medfuse.phantom.plan import StudyPlan, plan_studies
from tests.unit.phantom.conftest import Made

Cases = list[tuple[StudyPlan, Case]]


@pytest.fixture(scope="module")
def cases() -> Cases:
    family = BrainMR()
    plans = plan_studies("brain_mr", studies=10, seed=21, ages=family.ages, quantities=family.quantities)
    return [(plan, family.make(plan)) for plan in plans]


def _series(case: Case, channel: str) -> MadeSeries | None:
    return next((series for series in case.series if series.channel == channel), None)


def test_grid_is_oblique_and_small(cases: Cases) -> None:
    for _, case in cases:
        columns, rows, slices = case.geometry.shape
        assert 48 <= columns <= 64
        assert 48 <= rows <= 64
        assert 24 <= slices <= 32
        assert case.geometry.affine.is_orthogonal
        assert case.geometry.affine.orientation == "LPS"
        assert abs(case.geometry.affine.direction[2, 2]) < 0.996
        assert case.geometry.affine.spacing_mm[2] == pytest.approx(5)
        assert np.linalg.det(case.geometry.affine.direction) == pytest.approx(1)


def test_sequences_have_the_grid_and_their_own_scale(cases: Cases) -> None:
    brightness = set()
    for _, case in cases:
        for series in case.series:
            assert series.voxels.shape == case.geometry.shape
            assert series.attributes["SeriesDescription"] in DESCRIPTIONS[series.channel]
            brightness.add(int(series.voxels.max()))
    assert max(brightness) > 2.5 * min(brightness)
    assert max(brightness) < 2**15


def test_a_sequence_is_missing_where_the_plan_says(cases: Cases) -> None:
    assert any(case.missing for _, case in cases)
    for plan, case in cases:
        assert len(case.missing) == int(plan.lacks_series)
        assert {series.channel for series in case.series} == {"t1", "t1ce", "flair", "t2"} - set(case.missing)
        assert _series(case, case.reference) is not None


def test_core_takes_up_contrast(cases: Cases) -> None:
    seen = 0
    for _, case in cases:
        before, after = _series(case, "t1"), _series(case, "t1ce")
        if before is None or after is None or not case.labels["enhancing_lesion"]:
            continue
        core, rest = case.label_map == 1, case.label_map == 2
        uptake = [s.voxels[core].mean() / s.voxels[rest].mean() for s in (before, after)]
        assert uptake[1] > 1.5 * uptake[0]
        seen += 1
    assert seen >= 3


@pytest.mark.parametrize("channel", ["flair", "t2"])
def test_edema_is_bright(cases: Cases, channel: str) -> None:
    for _, case in cases:
        series = _series(case, channel)
        if series is not None and case.facts["edema_ml"]:
            head = series.voxels > 0.15 * np.percentile(series.voxels, 99)
            assert series.voxels[case.label_map == 2].mean() > 1.4 * np.median(series.voxels[head])


def test_edema_without_core_occurs_so_that_flair_is_no_shortcut(brain: Made) -> None:
    assert any(s.facts["edema_ml"] and not s.labels["enhancing_lesion"] for s in brain.truth.studies)
    assert any(not s.facts["edema_ml"] for s in brain.truth.studies)


def test_making_a_study_twice_gives_the_same(cases: Cases) -> None:
    plan, case = cases[2]
    again = BrainMR().make(plan)
    for one, two in zip(case.series, again.series, strict=True):
        assert np.array_equal(one.voxels, two.voxels)
    assert np.array_equal(again.label_map, case.label_map)
    assert again.report == case.report


@pytest.mark.parametrize(
    ("edema_ml", "age", "expected"),
    [(0.0, 100, 0), (45.0, 55, 1), (44.9, 55, 0), (30.0, 65, 1), (30.0, 64, 0), (80.0, 28, 0)],
)
def test_rule_takes_the_image_and_the_text(edema_ml: float, age: int, expected: int) -> None:
    assert high_grade_risk(edema_ml, age) == expected


def test_labels_follow_from_the_facts(brain: Made) -> None:
    for study in brain.truth.studies:
        assert study.labels["enhancing_lesion"] == (study.volumes_mm3["lesion_core"] > 0)
        assert study.labels["seizures"] == int(bool(study.facts["seizures"]))
        edema_ml = float(study.facts["edema_ml"])
        assert edema_ml == pytest.approx(study.volumes_mm3["edema"] / 1000, abs=1e-3)
        assert study.labels["high_grade_risk"] == high_grade_risk(edema_ml, float(study.facts["age"]))
