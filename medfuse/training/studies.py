"""The studies of a run: read once, then split; several runs of one recipe may share what was read."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medfuse.data.cases import CaseSet, read_cases
from medfuse.data.samples import Case
from medfuse.data.shuffle import other_patients
from medfuse.data.splits import SplitItem, split_by_patient
from medfuse.domain.labels import LabelSet, TargetKind
from medfuse.errors import CheckpointError, LabelLeakageError, ManifestError, UsageError
from medfuse.ingest.manifest import ManifestRow, read_manifest
from medfuse.storage import write_file
from medfuse.training.options import DataOptions, TrainingPlan

SPLITS = ("train", "validation", "test")
SPLIT_TABLE = "splits.csv"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Studies:
    """A manifest and what was read of it.

    Args:
        rows: The manifest's rows.
        case_set: The studies in memory, and those that cannot be used.
    """

    rows: tuple[ManifestRow, ...]
    case_set: CaseSet


def read_studies(
    plan: TrainingPlan, on_start: Callable[[int], None], on_study: Callable[[], None], *, need_labels: bool = True
) -> Studies:
    """Read every study of a plan's manifest. Folds, splits and the network have no part in it.

    Args:
        plan: Names the manifest, the recipe and what is predicted.
        on_start: Is told the number of studies.
        on_study: Called after each.
        need_labels: Whether a manifest that lacks what is predicted is refused.

    Raises:
        ManifestError: There is no manifest, or it does not fit the plan.
    """
    if plan.data.manifest is None:
        raise ManifestError("data.manifest is not set; add --set data.manifest=FILE, made by medfuse index")
    rows = read_manifest(plan.data.manifest)
    splits_of(rows, plan)  # too few patients for the folds are refused before minutes of reading
    on_start(len(rows))
    case_set = read_cases(rows, plan.recipe, plan.label_set, on_study, cache=plan.data.cache, need_labels=need_labels)
    return Studies(rows=rows, case_set=case_set)


def splits_of(rows: Sequence[ManifestRow], plan: TrainingPlan) -> dict[str, str]:
    """Study UID -> its split, for every row of the manifest.

    Raises:
        UsageError: There are too few patients or groups for the folds, or a study lacks its group.
        ManifestError: The manifest lacks the column of the groups.
    """
    units = _units(rows, plan.data)
    items = [
        SplitItem(
            study_instance_uid=row.study_instance_uid,
            patient_key=row.patient_key,
            stratum=_stratum(row, plan.label_set),
            unit=units.get(row.study_instance_uid, ""),
        )
        for row in rows
    ]
    data = plan.data
    return dict(
        split_by_patient(
            items,
            folds=data.folds,
            test_fold=data.test_fold,
            validation_fraction=data.validation_fraction,
            seed=plan.seed,
        )
    )


def _units(rows: Sequence[ManifestRow], data: DataOptions) -> dict[str, str]:
    if data.folds_by is None or data.manifest is None:
        return {}
    from medfuse.evaluation.groups import NOT_KNOWN, Grouping, groups_of

    units = groups_of(data.manifest, Grouping(column=data.folds_by))
    lacking = sum(units.get(row.study_instance_uid, NOT_KNOWN) == NOT_KNOWN for row in rows)
    if lacking:
        raise UsageError(f"data.folds_by: {lacking} studies have nothing in the column {data.folds_by}; fill it in")
    return units


def _stratum(row: ManifestRow, label_set: LabelSet) -> str:
    """What splits are balanced by: the labels of the findings, and the classes and grades of the targets."""
    labels = (row.labels[finding].value[0] for finding in label_set.findings if finding in row.labels)
    classes = (
        f" {row.targets.get(target.name, '')}" for target in label_set.targets if target.kind is not TargetKind.NUMBER
    )
    return "".join((*labels, *classes))


def parts_of(studies: Studies, splits: Mapping[str, str], plan: TrainingPlan) -> dict[str, list[Case]]:
    """The studies of each split, in order of UID; with `data.shuffle_reports`, each with another patient's text.

    Raises:
        ManifestError: There is nothing to train on, or nothing to validate on.
    """
    cases = studies.case_set.cases
    parts = {name: [cases[uid] for uid in sorted(cases) if splits[uid] == name] for name in SPLITS}
    for name in ("train", "validation"):
        if not parts[name]:
            raise ManifestError(f"the {name} split has no study that can be used; take more studies or fewer folds")
    if plan.data.shuffle_reports:
        patients = {row.study_instance_uid: row.patient_key for row in studies.rows}
        parts = {name: _shuffled(part, patients, plan.seed, name) for name, part in parts.items()}
    return parts


def _shuffled(cases: Sequence[Case], patients: Mapping[str, str], seed: int, split: str) -> list[Case]:
    texts = {case.study_instance_uid: case.text for case in cases if case.text}
    donors = other_patients({uid: patients[uid] for uid in texts}, seed, split)
    return [
        replace(case, text=texts[donors[case.study_instance_uid]]) if case.study_instance_uid in donors else case
        for case in cases
    ]


def check_start(plan: TrainingPlan, rows: Sequence[ManifestRow], splits: Mapping[str, str]) -> None:
    """See that the weights that a run starts from have learnt from none of the patients that it is measured on.

    Raises:
        LabelLeakageError: They have.
        CheckpointError: The run that they come from does not say whom it has seen.
    """
    if plan.training.start_from is None:
        return
    place = Path(plan.training.start_from)
    table = next((path for path in (place / SPLIT_TABLE, place.parent / SPLIT_TABLE) if path.is_file()), None)
    try:
        with (table or place / SPLIT_TABLE).open(encoding="utf-8", newline="") as file:
            told = list(csv.DictReader(file))
        seen = {row["patient_key"] for row in told if row["split"] != "test"}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise CheckpointError(
            f"training.start_from: {place / SPLIT_TABLE} cannot be read ({type(error).__name__}), which says whom the "
            "weights have seen; give the whole run folder"
        ) from error
    measured = {row.patient_key for row in rows if splits[row.study_instance_uid] == "test"}
    if both := seen & measured:
        raise LabelLeakageError(
            f"training.start_from: those weights have seen {len(both)} of the {len(measured)} patients of this run's "
            "test split; make both runs with the same manifest, seed, folds and data.test_fold"
        )


def write_splits(path: Path, rows: Sequence[ManifestRow], splits: Mapping[str, str]) -> None:
    """Write which study is in which split.

    Raises:
        StorageError: It cannot be written.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("study_instance_uid", "patient_key", "split"))
    writer.writerows((row.study_instance_uid, row.patient_key, splits[row.study_instance_uid]) for row in rows)
    write_file(path, lambda aside: aside.write_text(table.getvalue(), encoding="utf-8"))
