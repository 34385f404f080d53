"""Splits by patient: sizes, strata, and what is refused."""

from collections import Counter

import pytest

from medfuse.data.splits import SplitItem, split_by_patient
from medfuse.errors import UsageError


def items(n_patients: int, per_patient: int = 1, strata: str = "ab") -> list[SplitItem]:
    return [
        SplitItem(study_instance_uid=f"1.{p}.{s}", patient_key=f"p{p}", stratum=strata[p % len(strata)])
        for p in range(n_patients)
        for s in range(per_patient)
    ]


def split(
    rows: list[SplitItem], *, folds: int = 5, test_fold: int = 0, part: float = 0.2, seed: int = 1
) -> dict[str, str]:
    return dict(split_by_patient(rows, folds=folds, test_fold=test_fold, validation_fraction=part, seed=seed))


def test_sizes_and_strata() -> None:
    rows = items(200, strata="aaab")
    splits = split(rows)
    assert Counter(splits.values()) == {"train": 128, "validation": 32, "test": 40}
    stratum = {row.study_instance_uid: row.stratum for row in rows}
    for name in ("train", "validation", "test"):
        counts = Counter(stratum[uid] for uid, of in splits.items() if of == name)
        assert counts["b"] / counts.total() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(("part", "n"), [(0.0, 0), (0.1, 16), (0.15, 24), (0.4, 64), (0.99, 152)])
def test_validation_is_as_large_as_asked(part: float, n: int) -> None:
    assert Counter(split(items(200), part=part).values())["validation"] == n


def test_the_seed_counts() -> None:
    assert split(items(50), seed=1) != split(items(50), seed=2)
    assert split(items(50), seed=1) == split(items(50), seed=1)


def test_splits_do_not_move_between_versions() -> None:
    """A published split has to stay what it was; a new scikit-learn that fails here calls for a note to users."""
    splits = split(items(10), seed=7)
    assert sorted(uid for uid, of in splits.items() if of == "test") == ["1.3.0", "1.8.0"]


def test_rare_strata_are_spread_too() -> None:
    rows = [SplitItem(study_instance_uid=f"1.{n}", patient_key=f"p{n}", stratum=f"unique {n}") for n in range(10)]
    assert Counter(split(rows).values()) == {"test": 2, "validation": 2, "train": 6}
    mixed = [*items(20), SplitItem(study_instance_uid="9", patient_key="q", stratum="rare")]
    assert set(split(mixed)) == {row.study_instance_uid for row in mixed}


def of_sites(n_sites: int, patients: int = 6) -> list[SplitItem]:
    return [
        SplitItem(study_instance_uid=f"1.{s}.{p}", patient_key=f"p{s}.{p}", stratum="ab"[p % 2], unit=f"site {s}")
        for s in range(n_sites)
        for p in range(patients)
    ]


def test_a_test_fold_of_sites_is_of_whole_sites_and_each_is_left_out_once() -> None:
    rows = of_sites(4)
    site = {row.study_instance_uid: row.unit for row in rows}
    left_out = []
    for fold in range(4):
        splits = split(rows, folds=4, test_fold=fold)
        sites = {site[uid] for uid, of in splits.items() if of == "test"}
        assert len(sites) == 1
        assert not sites & {site[uid] for uid, of in splits.items() if of != "test"}
        assert {"train", "validation"} < set(splits.values())
        left_out += sites
    assert sorted(left_out) == sorted(set(site.values()))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (of_sites(3), "3 groups cannot be cut into 5 folds"),
        (
            [*of_sites(6), SplitItem(study_instance_uid="9", patient_key="p0.0", unit="site 1")],
            "1 patients have studies",
        ),
    ],
)
def test_sites_that_cannot_be_left_out_are_refused(rows: list[SplitItem], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split(rows)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (items(10), {"folds": 1}, "expected folds of at least 2"),
        (items(10), {"test_fold": 5}, "folds is 5 and test_fold 5"),
        (items(10), {"test_fold": -1}, "test_fold -1"),
        (items(10), {"part": 1.0}, "validation_fraction is 1.0"),
        (items(10), {"part": -0.1}, "validation_fraction"),
        (items(10), {"part": float("nan")}, "validation_fraction"),
        (items(10) + items(1), {}, "study 1.0.0 stands in the table 2 times"),
        (items(4, per_patient=5), {}, "4 patients cannot be cut into 5 folds"),
        ([], {}, "0 patients cannot be cut"),
        (items(2), {"folds": 2}, "1 patient is left beside the test set"),
    ],
)
def test_what_cannot_be_split_is_refused(rows: list[SplitItem], options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split(rows, **options)  # type: ignore[arg-type]
