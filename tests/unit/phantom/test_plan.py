from collections import Counter

import pytest
from pydicom.uid import UID

from medfuse.phantom.plan import FICTION, StudyPlan, derived_uid, plan_studies


def _plan(studies: int, seed: int = 1) -> tuple[StudyPlan, ...]:
    return plan_studies("chest_ct", studies=studies, seed=seed, ages=(45, 82), quantities=3)


def test_odd_files_come_in_the_stated_shares() -> None:
    plans = _plan(50)
    assert sum(not p.has_report for p in plans) == 4
    assert sum(p.compressed for p in plans) == 5
    assert sum(p.lacks_series for p in plans) == 5
    assert 20 <= sum(p.states_answer for p in plans) <= 25
    assert not any(p.states_answer and not p.has_report for p in plans)


def test_some_patients_come_back() -> None:
    plans = _plan(50)
    visits = Counter(p.patient.identifier for p in plans)
    assert sorted(visits.values()) == [1] * 40 + [2] * 5
    first = {p.patient.identifier: p for p in plans if p.visit == 0}
    for plan in plans:
        if plan.visit:
            assert plan.prior_on == first[plan.patient.identifier].taken_on
            assert plan.prior_on < plan.taken_on
        else:
            assert plan.prior_on is None


def test_age_follows_from_the_dates() -> None:
    for plan in _plan(40):
        years = (plan.taken_on - plan.patient.birth_date).days / 365.25
        assert plan.age == pytest.approx(years - 0.5, abs=0.51)
        assert 45 <= plan.age <= 84


def test_clinical_quantities_are_spread_evenly() -> None:
    patients = {p.patient.index: p.patient for p in _plan(44)}
    for column in zip(*(patient.quantiles for patient in patients.values()), strict=True):
        assert sum(value < 0.5 for value in column) == pytest.approx(len(patients) / 2, abs=3)


def test_names_fit_the_sex_and_are_of_fiction() -> None:
    assert all(p.patient.name in FICTION[p.patient.sex] for p in _plan(30))
    assert not set(FICTION["F"]) & set(FICTION["M"])


def test_identifiers_are_unique_and_follow_from_the_seed() -> None:
    plans = _plan(60)
    for names in ([p.directory for p in plans], [p.accession for p in plans], [p.uid("study") for p in plans]):
        assert len(set(names)) == 60
    assert [p.uid("study") for p in _plan(60)] == [p.uid("study") for p in plans]
    assert not {p.uid("study") for p in _plan(60, seed=2)} & {p.uid("study") for p in plans}


def test_uids_are_valid() -> None:
    uid = UID(derived_uid("a", 1))
    assert uid.is_valid
    assert uid.startswith("2.25.")
    assert derived_uid("a", 1) != derived_uid("a", 2)


def test_one_study_can_be_planned() -> None:
    assert len(_plan(1)) == 1
