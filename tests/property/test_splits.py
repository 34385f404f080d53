"""Splits never share a patient, the test folds partition the studies, and the order of the rows does not matter."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfuse.data.splits import SplitItem, split_by_patient
from medfuse.errors import UsageError

PATIENTS = st.lists(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=4), min_size=6, max_size=24)
FRACTIONS = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5])


def rows_of(patients: list[list[str]]) -> list[SplitItem]:
    return [
        SplitItem(study_instance_uid=f"1.{p}.{s}", patient_key=f"key{p}", stratum=stratum)
        for p, strata in enumerate(patients)
        for s, stratum in enumerate(strata)
    ]


@settings(deadline=None, max_examples=40)
@given(patients=PATIENTS, fraction=FRACTIONS, seed=st.integers(0, 2**63), test_fold=st.integers(0, 4), data=st.data())
def test_patients_are_never_shared_and_order_does_not_matter(
    patients: list[list[str]], fraction: float, seed: int, test_fold: int, data: st.DataObject
) -> None:
    rows = rows_of(patients)
    splits = split_by_patient(rows, folds=5, test_fold=test_fold, validation_fraction=fraction, seed=seed)
    assert set(splits) == {row.study_instance_uid for row in rows}
    of_patient = {
        name: {r.patient_key for r in rows if splits[r.study_instance_uid] == name} for name in splits.values()
    }
    assert all(not a & b for a, b in combinations(of_patient.values(), 2))
    assert {"train", "test"} <= set(of_patient)
    assert ("validation" in of_patient) == (fraction > 0)
    shuffled = data.draw(st.permutations(rows))
    again = split_by_patient(shuffled, folds=5, test_fold=test_fold, validation_fraction=fraction, seed=seed)
    assert again == splits


@settings(deadline=None, max_examples=40)
@given(patients=PATIENTS, folds=st.integers(2, 6), seed=st.integers(0, 2**63))
def test_the_test_folds_partition_the_studies(patients: list[list[str]], folds: int, seed: int) -> None:
    rows = rows_of(patients)
    tested: list[str] = []
    for fold in range(folds):
        splits = split_by_patient(rows, folds=folds, test_fold=fold, validation_fraction=0.2, seed=seed)
        tested += [uid for uid, name in splits.items() if name == "test"]
    assert sorted(tested) == sorted(row.study_instance_uid for row in rows)


@given(folds=st.integers(4, 9))
def test_too_few_patients_are_refused(folds: int) -> None:
    with pytest.raises(UsageError, match="3 patients"):
        split_by_patient(rows_of([["a"]] * 3), folds=folds, test_fold=0, validation_fraction=0.2, seed=0)
