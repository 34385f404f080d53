"""Which study is for training, validation or test: by patient, stratified, from a seed.

scikit-learn's `StratifiedGroupKFold` does the work. Rows are put in order of patient and study first, so that the same
studies give the same splits whatever order a folder was read in.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from medfuse.errors import UsageError
from medfuse.seeding import derived_seed

Split = Literal["train", "validation", "test"]

_FINEST = 20
"""Validation fractions are met to the nearest fraction with a denominator up to this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitItem:
    """One study to place.

    Args:
        study_instance_uid: Which study; unique among the items.
        patient_key: Studies of one patient stay together.
        stratum: What the splits should hold in equal parts, e.g. the labels in a row; may be empty.
        unit: What stays together in a test set beyond the patient, e.g. the site; empty for the patient alone.
    """

    study_instance_uid: str
    patient_key: str
    stratum: str = ""
    unit: str = ""


def split_by_patient(
    rows: Sequence[SplitItem], *, folds: int, test_fold: int, validation_fraction: float, seed: int
) -> dict[str, Split]:
    """Place every study; no patient is in two splits, and no unit both in the test set and beside it.

    The test sets of `test_fold` 0 to `folds - 1` partition the studies. Validation is taken from what is left.

    Args:
        rows: The studies, in any order.
        folds: Into how many folds of patients to cut; at least 2.
        test_fold: Which of them is the test set, from 0.
        validation_fraction: Part of the rest that becomes validation, in [0, 1); 0 for none.
        seed: The run's seed.

    Returns:
        Study UID -> its split.

    Raises:
        UsageError: A number is out of range, a UID repeats, or there are too few patients for these folds.
    """
    _check(rows, folds, test_fold, validation_fraction)
    ordered = sorted(rows, key=lambda row: (row.patient_key, row.study_instance_uid))
    test = set(_folds(ordered, folds, seed, by_unit=True)[test_fold])
    rest = [row for row in ordered if row.study_instance_uid not in test]
    validation = _validation(rest, validation_fraction, seed)
    splits: dict[str, Split] = {row.study_instance_uid: "train" for row in ordered}
    splits.update(dict.fromkeys(test, "test"))
    splits.update(dict.fromkeys(validation, "validation"))
    return splits


def _validation(rest: list[SplitItem], fraction: float, seed: int) -> set[str]:
    if fraction == 0:
        return set()
    n_patients = len({row.patient_key for row in rest})
    if n_patients < 2:
        raise UsageError(f"{n_patients} patient is left beside the test set; validation takes at least 2")
    finest = min(_FINEST, n_patients)
    nearest = Fraction(fraction).limit_denominator(finest)
    nearest = min(max(nearest, Fraction(1, finest)), Fraction(finest - 1, finest))
    parts = _folds(rest, nearest.denominator, derived_seed(seed, "validation"))
    return {uid for part in parts[: nearest.numerator] for uid in part}


def _folds(rows: list[SplitItem], folds: int, seed: int, *, by_unit: bool = False) -> list[list[str]]:
    """The study UIDs of each fold; of whole units, or of whole patients."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=derived_seed(seed, "folds") % 2**32)
    groups = [(row.unit if by_unit else "") or row.patient_key for row in rows]
    cuts = splitter.split(groups, _strata(rows, folds), groups)
    parts = [[rows[i].study_instance_uid for i in fold] for _, fold in cuts]
    if not all(parts):
        raise UsageError(f"{len(set(groups))} {_kind(rows)} do not fill {folds} folds; ask for fewer folds")
    return parts


def _strata(rows: list[SplitItem], folds: int) -> list[str]:
    """The stratum of each row; strata with fewer studies than folds cannot be spread and are taken together."""
    counts = Counter(row.stratum for row in rows)
    common = {stratum for stratum, n in counts.items() if n >= folds}
    n_rare = sum(n for stratum, n in counts.items() if stratum not in common)
    largest = max(sorted(common), key=counts.__getitem__, default="")
    rare = largest if n_rare < folds else "rare, taken together"
    return [row.stratum if row.stratum in common else rare for row in rows]


def _check(rows: Sequence[SplitItem], folds: int, test_fold: int, validation_fraction: float) -> None:
    if folds < 2 or not 0 <= test_fold < folds:
        raise UsageError(
            f"folds is {folds} and test_fold {test_fold}; expected folds of at least 2 and 0 <= test_fold < folds"
        )
    if not 0 <= validation_fraction < 1:
        raise UsageError(f"validation_fraction is {validation_fraction}, expected 0 <= fraction < 1")
    uids = Counter(row.study_instance_uid for row in rows)
    repeated = [uid for uid, n in uids.items() if n > 1]
    if repeated:
        raise UsageError(f"study {repeated[0]} stands in the table {uids[repeated[0]]} times; keep one row a study")
    torn = [key for key, n in Counter(key for key, _ in {(row.patient_key, row.unit) for row in rows}).items() if n > 1]
    if torn:
        raise UsageError(
            f"{len(torn)} patients have studies in more than one group that is to stay together; give each patient one"
        )
    groups = len({row.unit or row.patient_key for row in rows})
    if groups < folds:
        raise UsageError(f"{groups} {_kind(rows)} cannot be cut into {folds} folds; use at most {groups} folds")


def _kind(rows: Sequence[SplitItem]) -> str:
    return "groups" if any(row.unit for row in rows) else "patients"
