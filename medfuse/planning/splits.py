"""Folds and the validation fraction, from the number of patients."""

from dataclasses import dataclass

from medfuse.errors import ManifestError

FEWEST_PATIENTS = 3
"""A test, a validation and a training split take a patient each."""
USUAL_FOLDS = 5
MANY_PATIENTS = 2000
"""From so many on a tenth is a test set that measures well, and the rest is worth more in training."""
FEW_PATIENTS = 10
"""Below, a fold of five would hold a patient or two."""
WANTED_VALIDATION = 20
"""Patients whose findings calibrate a model, roughly."""
ENOUGH_TO_CHOOSE = 50
"""Patients in the validation split from which on it tells a better epoch from a luckier one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """How the patients are divided.

    Args:
        folds: Number of folds; one is the test set.
        validation_fraction: Share of the rest.
        test: Patients of the test set, about.
        validation: Patients of the validation split, about.
        training: Patients that are left to train on, about.
    """

    folds: int
    validation_fraction: float
    test: int
    validation: int
    training: int


def plan_splits(patients: int) -> Splits:
    """The splits for so many patients.

    Raises:
        ManifestError: There are too few patients for three splits.
    """
    if patients < FEWEST_PATIENTS:
        raise ManifestError(
            f"the manifest has {patients} {'patient' if patients == 1 else 'patients'}; a test, a validation and a "
            f"training split take at least {FEWEST_PATIENTS}: index more studies"
        )
    folds = 10 if patients >= MANY_PATIENTS else USUAL_FOLDS if patients >= FEW_PATIENTS else 3
    test = max(1, round(patients / folds))
    rest = patients - test
    parts = min(max(round(rest / WANTED_VALIDATION), 5), 10, rest)
    validation = max(1, round(rest / parts))
    return Splits(
        folds=folds,
        validation_fraction=round(1 / parts, 4),
        test=test,
        validation=validation,
        training=max(1, rest - validation),
    )
