from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from medfuse.data.shuffle import other_patients


@given(st.lists(st.integers(0, 6), max_size=20), st.integers(0, 5))
def test_each_report_goes_to_one_study_of_another_patient(owners: list[int], seed: int) -> None:
    patients = {f"s{number}": f"p{owner}" for number, owner in enumerate(owners)}
    donors = other_patients(patients, seed, "train")
    assert sorted(donors) == sorted(donors.values()) == sorted(patients)
    largest = max(Counter(patients.values()).values(), default=0)
    if 2 * largest <= len(patients):
        assert all(patients[uid] != patients[donor] for uid, donor in donors.items())


def test_it_follows_from_seed_and_split_and_not_from_the_order() -> None:
    patients = {f"s{number}": f"p{number // 2}" for number in range(30)}
    made = other_patients(patients, 1, "train")
    assert other_patients(dict(reversed(patients.items())), 1, "train") == made
    assert other_patients(patients, 2, "train") != made
    assert other_patients(patients, 1, "test") != made
